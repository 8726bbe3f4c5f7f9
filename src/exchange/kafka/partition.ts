/** In which partition a key is: as Kafka's own clients have it, so that topics of other producers stay in step. */

/** `toPositive(murmur2(key)) % partitions` of org.apache.kafka.common.utils.Utils. */
export const partitionOf = (key: Uint8Array, partitions: number): number => (murmur2(key) & 0x7fffffff) % partitions

const m = 0x5bd1e995
const seed = 0x9747b28c | 0

const murmur2 = (data: Uint8Array): number => {
  const whole = data.length - (data.length % 4)
  let h = seed ^ data.length
  for (let at = 0; at < whole; at += 4) {
    let k = data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)
    k = Math.imul(k, m)
    k = Math.imul(k ^ (k >>> 24), m)
    h = Math.imul(h, m) ^ k
  }
  if (whole < data.length) {
    for (let at = data.length - 1; at >= whole; at--) h ^= data[at]! << (8 * (at - whole))
    h = Math.imul(h, m)
  }
  h = Math.imul(h ^ (h >>> 13), m)
  return h ^ (h >>> 15)
}
