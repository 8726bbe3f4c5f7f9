import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { describe, expect, test } from 'vitest'
import { goesWithItsProcess, keepsWhatWasConfirmed, type Words, withinMs } from './broker-suite.ts'
import { missingNats, startNats } from '../../tools/servers/nats.ts'
import { titled } from './require-server.ts'

const asked = async <T>(url: string, question: (nats: NatsConnection) => Promise<T>): Promise<T> => {
  const nats = await connect({ servers: url, reconnect: false })
  try {
    return await question(nats)
  } finally {
    await nats.close()
  }
}
const words: Words = {
  write: ({ url }, word) =>
    asked(url, async (nats) => {
      const manager = await jetstreamManager(nats)
      await manager.streams.add({ name: 'WORDS', subjects: ['words'] })
      await jetstream(nats).publish('words', word)
    }),
  read: ({ url }) =>
    asked(url, async (nats) => {
      const stream = await jetstream(nats).streams.get('WORDS')
      const { state } = await stream.info()
      const found: string[] = []
      for (let seq = state.first_seq; seq <= state.last_seq; seq++)
        found.push((await stream.getMessage({ seq }))!.string())
      return found
    }),
}

const missing = missingNats()
describe.skipIf(missing)(titled('a NATS server', missing), () => {
  test('two at once keep what was confirmed to each, and leave no process', { timeout: withinMs }, () =>
    keepsWhatWasConfirmed(startNats, words),
  )
  test('it is gone with the process that started it, even if that is killed', { timeout: withinMs }, () =>
    goesWithItsProcess('nats.ts', 'startNats'),
  )
  test('it takes settings, and says why it does not start', async () => {
    await using server = await startNats({ settings: ['max_payload: 2048'] })
    expect(await asked(server.url, (nats) => Promise.resolve(nats.info?.max_payload))).toBe(2048)
    await expect(startNats({ settings: ['max_payload: perhaps'] })).rejects.toThrow(/nats\.conf:4/)
  })
})
