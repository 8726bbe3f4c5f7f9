import { compatibilityPartitioner } from '@platformatic/kafka'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { partitionOf } from './partition.ts'

test('a key is in the partition where Kafka’s own clients have it', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), fc.integer({ min: 1, max: 50 }), (key, partitions) => {
      const bytes = Buffer.from(key)
      expect(partitionOf(bytes, partitions)).toBe(compatibilityPartitioner({ topic: '' }, bytes) % partitions)
    }),
    // The client counts in big integers, which takes its time.
    { numRuns: 20 },
  )
})

test('it is that of the Java client', () => {
  // org.apache.kafka.common.utils.UtilsTest.testMurmur2
  const hashes = new Map([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ])
  const all = 0x7fffffff
  for (const [key, hash] of hashes) expect(partitionOf(Buffer.from(key), all)).toBe((hash & all) % all)
})
