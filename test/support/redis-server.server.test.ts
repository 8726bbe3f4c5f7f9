import { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { goesWithItsProcess, keepsWhatWasConfirmed, type Words, withinMs } from './broker-suite.ts'
import { missingRedis, startRedis } from '../../tools/servers/redis.ts'
import { titled } from './require-server.ts'

const asked = async <T>(url: string, question: (redis: Redis) => Promise<T>): Promise<T> => {
  const redis = new Redis(url)
  try {
    return await question(redis)
  } finally {
    redis.disconnect()
  }
}
const words: Words = {
  write: async ({ url }, word) => {
    await asked(url, (redis) => redis.xadd('words', '*', 'word', word))
  },
  read: ({ url }) => asked(url, async (redis) => (await redis.xrange('words', '-', '+')).map(([, [, word]]) => word!)),
}

const missing = missingRedis()
describe.skipIf(missing)(titled('a Redis server', missing), () => {
  test('two at once keep what was confirmed to each, and leave no process', { timeout: withinMs }, () =>
    keepsWhatWasConfirmed(startRedis, words),
  )
  test('it is gone with the process that started it, even if that is killed', { timeout: withinMs }, () =>
    goesWithItsProcess('redis.ts', 'startRedis'),
  )
  test('it takes settings, and says why it does not start', async () => {
    await using server = await startRedis({ settings: { maxmemory: '32mb' } })
    expect(await asked(server.url, (redis) => redis.config('GET', 'maxmemory'))).toContain('33554432')
    await expect(startRedis({ settings: { appendfsync: 'perhaps' } })).rejects.toThrow(/appendfsync/)
  })
})
