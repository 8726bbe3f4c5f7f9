/** What Postgres cannot hold is refused alone, and whatever came with it is entered. */

import { createApp, defineContext } from 'pabal'
import { postgres } from 'pabal/postgres'
import { describe, expect, onTestFinished, test } from 'vitest'
import { missingPostgres, testDatabase } from '../../test/support/postgres.ts'
import { titled } from '../../test/support/require-server.ts'
import { OrderPlacedV1, order, withCode } from '../../test/support/shop.ts'
import { kafka } from '../event/cloudevents/binding.ts'
import { fromMessage } from '../event/cloudevents/message.ts'
import { publicStream } from './exchange.ts'
import { Receiver } from './receiver.ts'
import type { Incoming } from './transport.ts'

const shipping = defineContext('shipping', { store: postgres, events: [] })

const newId = (n: number): string => `01900000-0000-7000-8000-${String(n).padStart(12, '0')}`

interface Sent {
  readonly key: string
  readonly id: string
  readonly sequence?: number
  readonly body?: string
}

const incoming = ({ key, id, sequence = 1, body = JSON.stringify(order(key)) }: Sent): Incoming => ({
  decode: (limits) => {
    const headers = {
      'content-type': 'application/json',
      ce_specversion: '1.0',
      ce_id: id,
      ce_source: 'urn:pabal:ordering',
      ce_type: OrderPlacedV1.type,
      ce_time: '2026-01-01T00:00:00.000Z',
      ce_subject: key,
      ce_streamversion: String(sequence),
      ce_previousversion: String(sequence - 1),
      ce_stream: publicStream,
      ce_incarnation: 'first',
      ce_correlationid: id,
      ce_hopcount: '0',
    }
    const decoded = fromMessage({ headers, body }, kafka, limits)
    if (decoded.mode === 'batch') throw new Error('no batches are sent here')
    return decoded.event
  },
})

const missing = missingPostgres()
describe.skipIf(missing)(titled('on Postgres', missing), () => {
  test.each([
    ['an id that is none of ours', { key: 'bad', id: 'order-1' }],
    ['an id that would be read as two', { key: 'bad', id: `${newId(7)},${newId(8)}` }],
    ['a NUL in its data', { key: 'bad', id: newId(9), body: '{"orderId":"\0"}' }],
    ['the same, while it waits', { key: 'bad', id: newId(9), sequence: 2, body: '{"orderId":"\0"}' }],
  ])('%s is refused alone', async (_, bad) => {
    const database = await testDatabase()
    const app = createApp({ contexts: [shipping.with({ store: postgres(database.pool({ max: 2 })) })] })
    onTestFinished(() => app.stop())
    const runtime = (await app['~pabal'].open()).runtimes.get('shipping')!
    const definitions = [OrderPlacedV1]
    const receiver = new Receiver({ runtime, source: 'ordering', stream: publicStream, definitions, fromFirst: true })
    const taken = await receiver.take([
      incoming({ key: 'one', id: newId(1) }),
      incoming(bad),
      incoming({ key: 'two', id: newId(2) }),
    ])
    expect(taken).toEqual([undefined, { refused: withCode('PABAL_MESSAGE_INVALID') }, undefined])
    expect(await database.sql('SELECT event_id FROM pabal_shipping.event ORDER BY id')).toEqual([
      { event_id: newId(1) },
      { event_id: newId(2) },
    ])
  })
})
