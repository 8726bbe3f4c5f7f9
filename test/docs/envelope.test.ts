import { expect, test } from 'vitest'
import { z } from 'zod'
import { amqp, type Binding, http, kafka, nats } from '../../src/event/cloudevents/binding.ts'
import { toMessage } from '../../src/event/cloudevents/message.ts'
import { toJson } from '../../src/event/cloudevents/structured.ts'
import { toCloudEvent } from '../../src/event/cloudevents/to-cloud-event.ts'
import { definePublicEvent } from '../../src/event/definition.ts'
import { type EventRecord, recordOf } from '../../src/event/envelope.ts'
import { codeIn, pageAt, rowsOf } from './pages.ts'

const page = pageAt('docs/reference/envelope.md')
const example = JSON.parse(page.blocks.find(({ language }) => language === 'json')!.text) as unknown
const named = (row: readonly string[]): string => codeIn(row[0] ?? '')[0] ?? ''

const OrderPlaced = definePublicEvent('shop.order-placed.v1', {
  kind: 'domain',
  schema: z.object({ orderId: z.string(), total: z.int() }),
  key: ({ orderId }) => orderId,
})

/** The event that the page's example shows. */
const shown = (version = 1): EventRecord => {
  const event = recordOf(OrderPlaced, 'ordering', {
    position: 12,
    id: '01930000-0000-7000-8000-000000000002',
    key: '주문-42',
    sequence: 4,
    type: OrderPlaced.type,
    version,
    data: JSON.stringify({ orderId: '주문-42', total: 9_000 }),
    metadata: '{"actor":"kim"}',
    correlation_id: '01930000-0000-7000-8000-000000000001',
    causation_id: '01930000-0000-7000-8000-000000000001',
    hops: 1,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    time_ms: Date.UTC(2026, 10, 20, 9, 30, 0, 5),
  })
  event.previousSequence = 2
  return event
}

const place = {
  stream: 'public',
  incarnation: '01920000-0000-7000-8000-000000000000',
  previousId: '01930000-0000-7000-8000-000000000000',
}

test('the example is the CloudEvent of its event, attribute for attribute', () => {
  expect(JSON.stringify(example)).toBe(toJson(toCloudEvent(shown(), { place })))
})

test('the table names every attribute, and no other', () => {
  const rows = rowsOf(page).filter(([, type]) => /^(String|Integer|Timestamp|URI-reference)$/.test(type ?? ''))
  const { attributes } = toCloudEvent(shown(2), { place, withMetadata: true })
  expect(rows.map(named)).toEqual([...attributes.keys()])
})

test('the table of bindings is how they write it', () => {
  const written = ({ name, prefix, ...binding }: Binding): readonly (string | undefined)[] => {
    const { headers, contentType } = toMessage(toCloudEvent(shown()), { name, prefix, ...binding }, 'binary')
    const header = (value: string | undefined): string | undefined =>
      Object.entries(headers).find(([, other]) => other === value)?.[0]
    return [name, header(shown().id), header(contentType), headers[`${prefix}subject`]]
  }
  const rows = rowsOf(page).filter(([, id]) => /^`(ce|cloudEvents).id`$/.test(id ?? ''))
  expect(
    rows.map(([name = '', ...cells]) => [/\[(\w+)\]/.exec(name)?.[1], ...cells.map((cell) => codeIn(cell)[0])]),
  ).toEqual([kafka, amqp, nats, http].map(written))
})

test('the table names every field of the envelope, and no other', () => {
  const fields = Object.keys(shown().toJSON())
  const listed = rowsOf(page).map(named).slice(0, fields.length)
  expect(listed.toSorted()).toEqual(fields.toSorted())
})
