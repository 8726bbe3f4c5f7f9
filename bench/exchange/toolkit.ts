/** `@message-queue-toolkit` over RabbitMQ, and over SNS and SQS: orders published from memory, and a handler of its consumer. */

import { z } from 'zod'
import { labelOf, load } from '../competitors.ts'
import { type Arm, drainBy } from '../postgres/arm.ts'
import { newOrder, nextNumbers, orderSchema, topic } from '../postgres/orders.ts'
import { nameIn } from '../postgres/server.ts'

/** What the toolkit does on one broker; `name` is that of an arm's queue or topic. */
export interface Toolkit {
  /** The package that speaks to it. */
  readonly package: string
  /** How it publishes, and how it consumes, for the notes. */
  readonly publishes: string
  readonly consumes: string
  /** Makes what is published to and consumed from. */
  provide(name: string): Promise<void>
  publisher(name: string): Promise<Publisher>
  /** Hands what comes to the handlers; resolves to what stops it. */
  consume(name: string, handlers: Handlers): Promise<() => Promise<unknown>>
}

export interface Publisher extends AsyncDisposable {
  /** All at once; resolves when the broker has answered. */
  publish(messages: readonly Message[]): Promise<void>
}

/** Its fields, its type and its time are where the toolkit looks for them by default. */
const messageSchema = orderSchema.extend({ id: z.string(), type: z.literal(topic), timestamp: z.string() })
export type Message = z.infer<typeof messageSchema>

/** What every publisher and consumer is told. */
export const typing = { messageTypeResolver: { messageTypePath: 'type' } }
export const publishing = { ...typing, messageSchemas: [messageSchema] }

const silent = (): void => {}
/** Whatever it reports, it logs as well. */
export const telling = {
  logger: { debug: silent, info: silent, warn: silent, error: console.error },
  errorReporter: { report: silent },
}

/** What its builder makes. */
export type Handlers = readonly object[]
interface Core {
  readonly MessageHandlerConfigBuilder: new () => HandlersBuilder
}
interface HandlersBuilder {
  addConfig(schema: object, handle: () => Promise<{ readonly result: 'success' }>): HandlersBuilder
  build(): Handlers
}

const publishesUnderWay = 500
const keys = 500

const messagesOf = (count: number): Message[] => {
  const first = nextNumbers(count)
  const timestamp = new Date().toISOString()
  return Array.from({ length: count }, (_, i) => ({
    id: String(first + i),
    type: topic,
    timestamp,
    ...newOrder(first + i, `order-${i % keys}`),
  }))
}

const publishAll = async (by: Publisher, messages: readonly Message[], until = () => false): Promise<number> => {
  let events = 0
  while (events < messages.length && !until()) {
    const some = messages.slice(events, events + publishesUnderWay)
    await by.publish(some)
    events += some.length
  }
  return events
}

const armOn = (toolkit: Toolkit): Pick<Arm, 'name' | 'refills' | 'setUp'> => ({
  name: labelOf(toolkit.package),
  refills: true,
  setUp: (url) => toolkit.provide(nameIn(url)),
})

export const toolkitRelay = (toolkit: Toolkit): Arm => {
  let waiting = 0
  return {
    ...armOn(toolkit),
    note: `\`publish\` of the same orders from memory, ${publishesUnderWay} under way, ${toolkit.publishes}; no log, no outbox.`,
    fill: async (_url, events) => {
      waiting = events
    },
    drain: async (url, { limitMs }) => {
      const messages = messagesOf(waiting)
      const by = await toolkit.publisher(nameIn(url))
      return {
        run: async () => {
          const startMs = performance.now()
          const events = await publishAll(by, messages, () => performance.now() > startMs + limitMs)
          return { events, wallMs: performance.now() - startMs }
        },
        [Symbol.asyncDispose]: () => by[Symbol.asyncDispose](),
      }
    },
  }
}

export const toolkitConsume = (toolkit: Toolkit): Arm => ({
  ...armOn(toolkit),
  note: `A handler that does nothing, ${toolkit.consumes}; no database.`,
  fill: async (url, events) => {
    await using by = await toolkit.publisher(nameIn(url))
    await publishAll(by, messagesOf(events))
  },
  drain: async (url, options) =>
    drainBy(options, async (countdown) => {
      const { MessageHandlerConfigBuilder } = await load<Core>('@message-queue-toolkit/core')
      const handlers = new MessageHandlerConfigBuilder()
        .addConfig(messageSchema, async () => {
          countdown.handled()
          return { result: 'success' }
        })
        .build()
      return toolkit.consume(nameIn(url), handlers)
    }),
})
