/** `@nestjs/microservices` over RabbitMQ and Kafka: `emit` from memory, and a handler of an `@EventPattern`. */

import { labelOf, load } from '../competitors.ts'
import { type Arm, drainBy } from '../postgres/arm.ts'
import { newOrder, nextNumbers, type Order, topic } from '../postgres/orders.ts'
import { nameIn } from '../postgres/server.ts'

type NestBroker = 'rabbitmq' | 'kafka'

interface Microservices {
  readonly ClientProxyFactory: { create(options: object): Proxy }
  readonly Payload: () => ParameterDecorator
  readonly Ctx: () => ParameterDecorator
  readonly EventPattern: (pattern: string) => MethodDecorator
  readonly Transport: { readonly RMQ: number; readonly KAFKA: number }
}
interface Proxy {
  connect(): Promise<unknown>
  emit(pattern: string, data: object): unknown
  close(): Promise<unknown> | void
}
interface Nest {
  readonly NestFactory: {
    createMicroservice(module: object, options: object): Promise<{ listen(): Promise<void>; close(): Promise<void> }>
  }
}
interface Common {
  readonly Controller: () => ClassDecorator
}
interface Rx {
  readonly lastValueFrom: (of: unknown, options: object) => Promise<unknown>
}
interface RmqContext {
  getChannelRef(): { ack(message: unknown): void }
  getMessage(): unknown
}

const prefetchCount = 500
const emitsUnderWay = 500
const keys = 500

const optionsOf = async (broker: NestBroker, server: string, name: string): Promise<object> => {
  const { Transport } = await load<Microservices>('@nestjs/microservices')
  if (broker === 'rabbitmq') {
    const queueOptions = { durable: true, arguments: { 'x-queue-type': 'quorum' } }
    const options = { urls: [server], queue: name, queueOptions, noAck: false, prefetchCount, persistent: true }
    return { transport: Transport.RMQ, options }
  }
  return {
    transport: Transport.KAFKA,
    options: {
      client: { brokers: [server], logLevel: 0 },
      consumer: { groupId: name },
      subscribe: { fromBeginning: true },
      send: { acks: -1 },
    },
  }
}

/** Topics are shared by all who are on a Kafka. */
const patternOf = (name: string): string => `${name}-${topic}`

const proxy = async (broker: NestBroker, server: string, name: string): Promise<Proxy> => {
  const { ClientProxyFactory } = await load<Microservices>('@nestjs/microservices')
  // A client acknowledges no answers.
  const options = (await optionsOf(broker, server, name)) as { readonly options: object }
  const made = ClientProxyFactory.create({ ...options, options: { ...options.options, noAck: true } })
  await made.connect()
  return made
}

const emitAll = async (by: Proxy, name: string, orders: readonly Order[], until: () => boolean): Promise<number> => {
  const { lastValueFrom } = await load<Rx>('rxjs')
  let emitted = 0
  for (let at = 0; at < orders.length && !until(); at += emitsUnderWay) {
    const some = orders.slice(at, at + emitsUnderWay)
    await Promise.all(
      some.map((value) =>
        lastValueFrom(by.emit(patternOf(name), { key: value.orderId, value }), { defaultValue: undefined }),
      ),
    )
    emitted += some.length
  }
  return emitted
}

const ordersOf = (count: number): Order[] => {
  const first = nextNumbers(count)
  return Array.from({ length: count }, (_, i) => newOrder(first + i, `order-${i % keys}`))
}

const never = (): boolean => false

const fill = async (broker: NestBroker, server: string, url: string, events: number): Promise<void> => {
  const by = await proxy(broker, server, nameIn(url))
  await emitAll(by, nameIn(url), ordersOf(events), never)
  await by.close()
}

export const nestRelay = (broker: NestBroker, server: string): Arm => {
  let waiting = 0
  return {
    name: labelOf('@nestjs/microservices'),
    note: `\`emit\` of the same orders from memory, ${emitsUnderWay} under way${broker === 'kafka' ? ', by kafkajs, one request for each' : ', confirmed'}; no log, no outbox.`,
    refills: true,
    setUp: async (url) => fill(broker, server, url, 1),
    fill: async (_url, events) => {
      waiting = events
    },
    drain: async (url, { limitMs }) => {
      const orders = ordersOf(waiting)
      const by = await proxy(broker, server, nameIn(url))
      return {
        run: async () => {
          const startMs = performance.now()
          const events = await emitAll(by, nameIn(url), orders, () => performance.now() > startMs + limitMs)
          return { events, wallMs: performance.now() - startMs }
        },
        [Symbol.asyncDispose]: async () => {
          await by.close()
        },
      }
    },
  }
}

export const nestConsume = (broker: NestBroker, server: string): Arm => ({
  name: labelOf('@nestjs/microservices'),
  note: 'A handler of an `@EventPattern` that does nothing, acknowledged one by one; no database.',
  refills: true,
  setUp: async (url) => fill(broker, server, url, 1),
  fill: (url, events) => fill(broker, server, url, events),
  drain: async (url, options) =>
    drainBy(options, async (countdown) => {
      await load('reflect-metadata')
      const { Controller } = await load<Common>('@nestjs/common')
      const { NestFactory } = await load<Nest>('@nestjs/core')
      const { Ctx, EventPattern, Payload } = await load<Microservices>('@nestjs/microservices')
      class Handler {
        handle(_data: unknown, context: RmqContext): void {
          countdown.handled()
          if (broker === 'rabbitmq') context.getChannelRef().ack(context.getMessage())
        }
      }
      Controller()(Handler)
      const method = Object.getOwnPropertyDescriptor(Handler.prototype, 'handle')!
      EventPattern(patternOf(nameIn(url)))(Handler.prototype, 'handle', method)
      Payload()(Handler.prototype, 'handle', 0)
      Ctx()(Handler.prototype, 'handle', 1)
      const service = await NestFactory.createMicroservice(
        { module: Handler, controllers: [Handler] },
        {
          ...(await optionsOf(broker, server, nameIn(url))),
          logger: false,
        },
      )
      await service.listen()
      return () => service.close()
    }),
})
