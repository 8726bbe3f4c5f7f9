/** The guard of the order between processes taken out, and what breaks without it. */

import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import { eventually, gate } from '../../../test/support/eventually.ts'
import { missingRedis } from '../../../tools/servers/redis.ts'
import {
  channel,
  messages,
  Notebook,
  opened,
  publishAll,
  testRedis,
  upTo,
} from '../../../test/support/redis-streams.ts'
import { titled } from '../../../test/support/require-server.ts'
import { systemEnvironment } from '../../core/environment.ts'
import type { Take } from '../transport.ts'
import { connector } from './client.ts'
import { Connection } from './connection.ts'
import { Group } from './group.ts'
import { subscriberNames } from './names.ts'
import { Reader } from './reader.ts'

/** A process that reads for the subscriber while it holds a reader key of that name. */
const reading = async (url: string, take: Take, reader: string): Promise<void> => {
  const names = { ...subscriberNames('', channel, 'shipping'), reader }
  const parts = { environment: systemEnvironment, warn: () => {}, leaseMs: 1_000 }
  const make = connector((settings) => new Redis(url, settings))
  const [connection, waiting] = [0, 1].map(() => new Connection({ ...parts, make, timeoutMs: 2_000 })) as [
    Connection,
    Connection,
  ]
  const consumer = systemEnvironment.id()
  const group = new Group({ ...parts, names, provision: true, count: 10, consumer, connection, waiting })
  await group.ensure()
  const wake = () => waiting.close()
  const process = new Reader({ ...parts, group, names, take, keepMs: Infinity, trimEveryMs: 60_000, wake })
  onTestFinished(async () => {
    await process[Symbol.asyncDispose]()
    connection.close()
  })
}

const missing = missingRedis()
describe.skipIf(missing)(titled('two processes of a subscriber over Redis Streams', missing), () => {
  test.each([
    ['by one reader key keep the order', ['one', 'one'], upTo(40)],
    ['by a key each break it', ['one', 'two'], [...upTo(40).slice(10), ...upTo(10)]],
  ] as const)('%s', async (_, readers, expected) => {
    const { url } = await testRedis()
    const { open } = await opened(url)
    const notebook = new Notebook()
    const held = gate()
    let batches = 0
    // Whoever is brought the first batch takes its time.
    const take: Take = async (batch) => {
      if (++batches === 1) await held.opened
      return notebook.take(batch)
    }
    for (const reader of readers) await reading(url, take, reader)
    await eventually('all are there', async () => {
      const redis = new Redis(url)
      const there = await redis.exists(...new Set(readers))
      redis.disconnect()
      return there === new Set(readers).size
    })
    await publishAll(open, messages('a', 1, 40))
    await eventually('all that can be taken is', () => batches === (readers[0] === readers[1] ? 1 : 4))
    held.open()
    await eventually('all have come', () => notebook.brought.length === 40)
    expect(notebook.firsts('a')).toEqual(expected)
  })
})
