/** The slot of a key: one hash and one modulus everywhere, computed here because a server's hash may change. */

export const slots = 1_024

/** FNV-1a over the UTF-16 code units, folded to 0 … 1,023. Never changes: it decides which lane a key belongs to. */
export const slotOf = (key: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i)
    hash = Math.imul(hash ^ (unit & 0xff), 0x01000193)
    hash = Math.imul(hash ^ (unit >>> 8), 0x01000193)
  }
  return ((hash >>> 0) ^ (hash >>> 22)) & (slots - 1)
}
