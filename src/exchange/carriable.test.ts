/** What no message can hold is refused in the transaction that raises it. */

import { SNS } from '@aws-sdk/client-sns'
import { SQS } from '@aws-sdk/client-sqs'
import { createApp, defineContext, defineEvent, definePublicEvent, type Exchange, over, publish } from 'pabal'
import { claimCheck, filePayloads } from 'pabal/claim-check'
import { countUserEvents, operate } from 'pabal/operate'
import { sns, snsSqs } from 'pabal/sns-sqs'
import { sqlite } from 'pabal/sqlite'
import { kind, NastyBroker } from 'pabal/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { testFolder } from '../../test/support/folder.ts'

const Note = z.object({ key: z.string(), text: z.string() })
const ofKey = { schema: Note, key: ({ key }: { key: string }): string => key }
const Whole = defineEvent('ordering.whole', ofKey)
const Begun = defineEvent('ordering.begun', ofKey)
const Kept = defineEvent('ordering.kept', ofKey)
const Noted = definePublicEvent('shop.noted.v1', { ...ofKey, kind: 'domain' })
const ordering = defineContext('ordering', {
  store: sqlite,
  events: [Whole, Begun, Kept],
  publishes: [
    publish(Whole, Noted, ({ data }) => data),
    publish(Begun, Noted, ({ data: { key, text } }) => ({ key, text: text.slice(0, 10) })),
  ],
})

const region = 'eu-west-1'
const messageBytes = 4_096
const nasty = (): Exchange =>
  over(new NastyBroker({ random: Math.random, traits: { messageBytes }, faults: kind }).transport)

const opened = async (exchange: Exchange) => {
  const app = createApp({ contexts: [ordering.with({ store: sqlite(`${await testFolder()}/ordering.db`) })], exchange })
  onTestFinished(() => app.stop({ graceMs: 100 }))
  const raise = (event: typeof Whole | typeof Begun | typeof Kept, text: string): Promise<unknown> =>
    app.context(ordering).transaction((unit) => unit.raise(event, { key: 'a', text }))
  return { app, raise }
}
const refused = { code: 'PABAL_MESSAGE_TOO_LARGE' }

describe('an event whose public form is more than a message', () => {
  test('is refused when it is raised, and its unit fails whole', async () => {
    const { app, raise } = await opened(nasty())
    await expect(raise(Whole, 'x'.repeat(messageBytes))).rejects.toMatchObject(refused)
    await expect(raise(Whole, '주'.repeat(messageBytes / 3))).rejects.toMatchObject(refused)
    await raise(Whole, 'x'.repeat(messageBytes - 1_000))
    expect(await countUserEvents(await operate(app))).toBe(1)
  })

  test('is raised where its public form is small, or nothing of it is published', async () => {
    const { raise } = await opened(nasty())
    await raise(Begun, 'x'.repeat(messageBytes))
    await raise(Kept, 'x'.repeat(messageBytes))
  })

  test('is raised where large payloads go beside the broker', async () => {
    const { raise } = await opened(claimCheck(nasty(), { payloads: filePayloads(await testFolder()) }))
    await raise(Whole, 'x'.repeat(10 * messageBytes))
  })

  test.each([
    ['SNS and SQS', snsSqs({ sns: new SNS({ region }), sqs: new SQS({ region }) })],
    ['SNS alone', sns({ sns: new SNS({ region }) })],
  ])('is measured as %s writes it: a letter beyond ASCII as six', async (_, exchange) => {
    const { raise } = await opened(exchange)
    await expect(raise(Whole, '주'.repeat(262_144 / 6))).rejects.toMatchObject(refused)
    await raise(Whole, 'x'.repeat(262_144 / 2))
  })
})
