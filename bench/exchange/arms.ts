/** The arms over brokers: what each does, whatever the broker. Their names are the broker's and their own. */

import { Client as PostgresClient } from 'pg'
import { systemEnvironment } from '../../src/core/environment.ts'
import { over } from '../../src/exchange/exchange.ts'
import type { Outgoing, Take, Transport } from '../../src/exchange/transport.ts'
import { type Arm, Countdown, type DrainOptions, drainBy, effectTable, insertEffect } from '../postgres/arm.ts'
import { nameIn } from '../postgres/server.ts'
import type { Client, TakeBodies } from './client.ts'
import { context, subscriber } from './names.ts'
import { append, appender, capturing, consumer, type Conduct, producer, publishAll } from './pabal-apps.ts'
import type { Toolkit } from './toolkit.ts'

const clients = {
  rabbitmq: async (url: string) => (await import('./rabbitmq.ts')).rabbitmq(url),
  kafka: async (url: string) => (await import('./kafka.ts')).kafka(url),
  nats: async (url: string) => (await import('./nats.ts')).nats(url),
  redis: async (url: string) => (await import('./redis.ts')).redis(url),
  sns: async (url: string) => (await import('./sns.ts')).sns(url),
} satisfies Record<string, (url: string) => Promise<Client>>

export type BrokerName = keyof typeof clients

/** Where the processes of arms find the broker. */
export const brokerUrl = 'PABAL_BENCH_BROKER'

const ofPabal = {
  relayRaw: (client: Client): Arm => {
    const captured: Outgoing[] = []
    return {
      name: 'the client alone',
      note: `Publishes the same messages from memory, ${perPublish} at a time and ${publishesUnderWay} of those under way; the order of a key is not kept where one fails.`,
      setUp: provided(client),
      refills: true,
      fill: async (url, events) => {
        await append(url, events)
        await publishAll(url, capturing(captured))
      },
      drain: async (url, { limitMs }) => {
        const messages = captured.splice(0)
        const publisher = await client.publisher(prefixOf(url), messages)
        let next = 0
        let published = 0
        const lane = async (endMs: number): Promise<void> => {
          while (next < messages.length && performance.now() < endMs) {
            const [from, count] = [next, Math.min(perPublish, messages.length - next)]
            next += count
            await publisher.publish(from, count)
            published += count
          }
        }
        return {
          run: async () => {
            const startMs = performance.now()
            await Promise.all(Array.from({ length: publishesUnderWay }, () => lane(startMs + limitMs)))
            return { events: published, wallMs: performance.now() - startMs }
          },
          [Symbol.asyncDispose]: () => publisher[Symbol.asyncDispose](),
        }
      },
    }
  },
  relayPabal: (client: Client): Arm => ({
    name: 'pabal',
    note: 'The relay of a started app, from its Postgres log, timed from its first publish to its last confirm.',
    setUp: provided(client),
    refills: true,
    fill: append,
    drain: async (url, options) => {
      const published = (countdown: Countdown): Transport =>
        watched(client.transport(prefixOf(url)), {
          publish: (count) => countdown.handled(count),
        })
      return appDrain(options, (countdown) => producer(url, over(published(countdown))))
    },
  }),
  consumeRaw: (client: Client): Arm => ({
    name: 'the client alone',
    note: 'Consumes and acknowledges many at once; no database, nothing is parsed.',
    ...filledBy(client),
    drain: async (url, options) =>
      rawDrain(client, url, options, (countdown) => async (bodies) => countdown.handled(bodies.length)),
  }),
  consumeByHand: (client: Client): Arm => ({
    name: 'a transaction for each message, by hand',
    note: 'BEGIN, the id into an inbox, the row, COMMIT, by named statements; one after the other, for the order of keys. Acknowledged as by the client alone.',
    ...filledBy(client),
    drain: async (url, options) => {
      const postgres = new PostgresClient({ connectionString: url })
      await postgres.connect()
      await postgres.query(`CREATE TABLE IF NOT EXISTS inbox (id bigint PRIMARY KEY); ${effectTable}`)
      return rawDrain(
        client,
        url,
        options,
        (countdown) => async (bodies) => {
          countdown.handled(0)
          for (const body of bodies) {
            await handleByHand(postgres, body)
            countdown.handled()
          }
        },
        () => postgres.end(),
      )
    },
  }),
  consumePabal: (client: Client): Arm => ({
    name: 'pabal, received',
    note: 'Until what came is in the receiving context’s log on Postgres; a handler that does nothing reads it there meanwhile.',
    ...filledBy(client),
    drain: async (url, options) =>
      appDrain(options, (countdown) =>
        consumer(url, watched(client.transport(prefixOf(url)), { take: (count) => countdown.handled(count) }), {
          writes: false,
        }),
      ),
  }),
  consumeHandled: (client: Client): Arm => ({
    name: 'pabal, handled',
    note: 'Until the handler has written its row for each event.',
    ...filledBy(client),
    drain: async (url, options) =>
      appDrain(options, (countdown) => {
        const conduct: Conduct = { written: () => countdown.handled() }
        return consumer(url, watched(client.transport(prefixOf(url)), { take: () => countdown.handled(0) }), conduct)
      }),
  }),
  latencyPabal: (client: Client): Arm => ({
    name: 'pabal',
    note: 'Until an after-commit handler of the consumer hears of the effect: its row and an event are committed.',
    setUp: provided(client),
    append: (url) => appender(url, client.transport(prefixOf(url))),
    consume: async (url, { handle }) => {
      const made = consumer(url, client.transport(prefixOf(url)), { committed: handle })
      await made.app.start()
      return made
    },
  }),
} satisfies Record<string, (client: Client) => Arm>

/** Libraries that do the same job, over the brokers for which they do. */
const libraries = {
  nestRelay: async (broker: BrokerName, url: string) => (await import('./nest.ts')).nestRelay(nestOn(broker), url),
  nestConsume: async (broker: BrokerName, url: string) => (await import('./nest.ts')).nestConsume(nestOn(broker), url),
  toolkitRelay: async (broker: BrokerName, url: string) =>
    (await import('./toolkit.ts')).toolkitRelay(await toolkitOn(broker, url)),
  toolkitConsume: async (broker: BrokerName, url: string) =>
    (await import('./toolkit.ts')).toolkitConsume(await toolkitOn(broker, url)),
  bullmqRelay: async (_: BrokerName, url: string) => (await import('./bullmq.ts')).bullmqRelay(url),
  bullmqConsume: async (_: BrokerName, url: string) => (await import('./bullmq.ts')).bullmqConsume(url),
} satisfies Record<string, (broker: BrokerName, url: string) => Promise<Arm>>

const nestOn = (broker: BrokerName): 'rabbitmq' | 'kafka' => {
  if (broker !== 'rabbitmq' && broker !== 'kafka') throw new Error(`@nestjs/microservices keeps nothing on ${broker}`)
  return broker
}

const toolkitOn = async (broker: BrokerName, url: string): Promise<Toolkit> => {
  if (broker === 'rabbitmq') return (await import('./toolkit-rabbitmq.ts')).toolkitOnRabbitmq(url)
  if (broker === 'sns') return (await import('./toolkit-sns.ts')).toolkitOnSns(url)
  throw new Error(`@message-queue-toolkit is not measured on ${broker}`)
}

export type ExchangeArm = keyof typeof ofPabal | keyof typeof libraries
export type ExchangeArmName = `${BrokerName}/${ExchangeArm}`

const isLibrary = (name: string): name is keyof typeof libraries => name in libraries
export const isExchangeArm = (name: string): name is ExchangeArm => name in ofPabal || isLibrary(name)

/** In its own process, which knows where the broker is. */
export const exchangeArm = async (name: ExchangeArmName): Promise<Arm> => {
  const [broker, kind] = name.split('/') as [BrokerName, ExchangeArm]
  const url = process.env[brokerUrl]!
  return isLibrary(kind) ? libraries[kind](broker, url) : ofPabal[kind](await clients[broker](url))
}

const perPublish = 500
const publishesUnderWay = 4

/** Every arm has names of its own on the broker, as it has a database of its own. */
const prefixOf = (url: string): string => nameIn(url)

/** What the transport makes for a subscriber is there before anything is published. */
const provided = (client: Client) => async (url: string) => {
  const environment = systemEnvironment
  await using open = await client.transport(prefixOf(url)).open({ environment, warn: () => {} })
  await using _ = await open.receive({ context }, subscriber, async (batch) => batch.map(() => undefined))
}

const filledBy = (client: Client): Pick<Arm, 'setUp' | 'fill' | 'refills'> => ({
  refills: true,
  setUp: provided(client),
  fill: async (url, events) => {
    await append(url, events)
    await publishAll(url, client.transport(prefixOf(url)))
  },
})

interface Watch {
  /** Called with 0 at the beginning of the first. */
  readonly publish?: (count: number) => void
  readonly take?: (count: number) => void
}

const watched = (plain: Transport, { publish, take }: Watch): Transport => ({
  ...plain,
  open: async (options) => {
    const open = await plain.open(options)
    return {
      publish: async (channel, messages, signal) => {
        publish?.(0)
        const outcomes = await open.publish(channel, messages, signal)
        publish?.(outcomes.filter((outcome) => outcome === undefined).length)
        return outcomes
      },
      receive: (channel, by, plainTake) => {
        const counted: Take = async (batch) => {
          take?.(0)
          const taken = await plainTake(batch)
          take?.(batch.length)
          return taken
        }
        return open.receive(channel, by, counted)
      },
      [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
    }
  },
})

const appDrain = (options: DrainOptions, make: (countdown: Countdown) => ReturnType<typeof producer>) =>
  drainBy(options, async (countdown) => {
    const made = make(countdown)
    await made.app.start()
    return async () => made[Symbol.asyncDispose]()
  })

const rawDrain = (
  client: Client,
  url: string,
  options: DrainOptions,
  taking: (countdown: Countdown) => TakeBodies,
  close?: () => Promise<unknown>,
) =>
  drainBy(
    options,
    async (countdown) => {
      const consuming = await client.consume(prefixOf(url), taking(countdown))
      // All may come at once, and then there would be no time between the first and the last.
      countdown.handled(0)
      return async () => consuming[Symbol.asyncDispose]()
    },
    close,
  )

const handleByHand = async (postgres: PostgresClient, body: string): Promise<void> => {
  const event = JSON.parse(body) as Partial<Order> & { readonly data?: Order }
  const { number, total } = event.data ?? (event as Order)
  await postgres.query('BEGIN')
  const inbox = 'INSERT INTO inbox (id) VALUES ($1) ON CONFLICT DO NOTHING'
  const { rowCount } = await postgres.query({ name: 'inbox', text: inbox, values: [number] })
  if (rowCount === 1) await postgres.query({ name: 'effect', text: insertEffect, values: [number, total] })
  await postgres.query('COMMIT')
}

interface Order {
  readonly number: number
  readonly total: number
}
