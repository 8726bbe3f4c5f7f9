/** The id of an event of a foreign producer: made from the source and id that it came with, so that a repetition has the same. */

import { createHash } from 'node:crypto'

/** All of them stand from here on, and no UUIDv7 does before the year 10,000: a store may keep them apart. */
export const foreignIdFirst = 'ff000000-0000-0000-0000-000000000000'

/** A UUIDv8 (RFC 9562): `ff`, and 114 bits of a SHA-256. Source and id together are the identity of a CloudEvent (CE-2). */
export const foreignId = (source: string, id: string): string => {
  // No URI has a space.
  const hex = createHash('sha256').update(`${source} ${id}`).digest('hex')
  const variant = (8 + (Number.parseInt(hex[13]!, 16) % 4)).toString(16)
  return `ff${hex.slice(0, 6)}-${hex.slice(6, 10)}-8${hex.slice(10, 13)}-${variant}${hex.slice(14, 17)}-${hex.slice(17, 29)}`
}
