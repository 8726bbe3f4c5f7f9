/** The parts over one broker: publishing from the log, consuming into Postgres, and the way from commit to committed effect. */

import type { ArmName } from '../postgres/arms.ts'
import { Field } from '../postgres/field.ts'
import { latencyOf } from '../postgres/latency.ts'
import type { Part, PartOptions } from '../postgres/part.ts'
import { figure, median, range, type Table } from '../postgres/tables.ts'
import { rateOf, spread, takeTurns, timesTheCpu, timesTheRate } from '../postgres/turns.ts'
import type { BrokerName, ExchangeArm } from './arms.ts'
import { brokers } from './brokers.ts'

/** The emulator of SNS and SQS brings and takes a hundred or two in a second. */
const backlogOf = (broker: BrokerName, quick: boolean): number =>
  broker === 'sns' ? (quick ? 500 : 2_000) : quick ? 5_000 : 50_000

/** Who does the same job there. On NATS, Nest speaks to its core alone, which keeps nothing. */
const librariesOn: Readonly<
  Record<BrokerName, { readonly relay: readonly ExchangeArm[]; readonly consume: readonly ExchangeArm[] }>
> = {
  rabbitmq: { relay: ['nestRelay', 'toolkitRelay'], consume: ['nestConsume', 'toolkitConsume'] },
  kafka: { relay: ['nestRelay'], consume: ['nestConsume'] },
  nats: { relay: [], consume: [] },
  redis: { relay: ['bullmqRelay'], consume: ['bullmqConsume'] },
  sns: { relay: ['toolkitRelay'], consume: ['toolkitConsume'] },
}

interface Draining {
  readonly broker: BrokerName
  readonly what: string
  /** Ratios are to the first. */
  readonly arms: readonly ExchangeArm[]
  readonly notes: readonly string[]
}

const drained = async (
  { server, only, quick, rounds, progress }: PartOptions,
  { broker, what, arms, notes }: Draining,
): Promise<Table> => {
  const { title } = brokers[broker]
  const named = (arm: ExchangeArm): ArmName => `${broker}/${arm}`
  const base = named(arms[0]!)
  const limitMs = quick ? 5_000 : 15_000
  const backlog = backlogOf(broker, quick)
  await using field = await Field.of(arms.map(named), {
    server,
    only: only?.map((arm) => `${broker}/${arm}`),
    part: what,
    base,
  })
  progress(`${title}, ${what}: ${field.entries.map(({ key }) => key).join(', ')}`)
  const costs = await takeTurns(
    server,
    field,
    field.entries.map((entry) => ({
      id: entry.key,
      entry,
      spec: { what: 'drain', url: entry.url, backlog, limitMs },
    })),
    rounds,
  )
  const first = costs.get(base)!
  return {
    title: `${title}: ${what}`,
    columns: [
      'arm',
      'events/s',
      'range',
      'of the first',
      'range',
      'Node CPU µs/event',
      'Postgres CPU µs/event',
      'CPU of the first',
    ],
    rows: field.entries.map(({ key, name }) => {
      const of = costs.get(key)!
      return [
        name,
        median(rateOf(of)),
        range(rateOf(of)),
        median(timesTheRate(of, first)),
        range(timesTheRate(of, first)),
        median(spread(of, ({ cpuUs }) => cpuUs)),
        median(spread(of, ({ serverCpuUs }) => serverCpuUs)),
        median(timesTheCpu(of, first)),
      ]
    }),
    notes: [
      `Medians of ${rounds} rounds of ${figure(backlog)} events of 500 keys; whoever had not finished after ${figure(limitMs / 1_000)} s was stopped, and its rate is that of what it had done. The broker’s CPU is not counted.`,
      ...notes,
      ...field.notes,
    ],
    figures: Object.fromEntries(costs),
  }
}

export const partsOver = (broker: BrokerName): Readonly<Record<'relay' | 'consume' | 'latency', Part>> => ({
  relay: async (options) => [
    await drained(options, {
      broker,
      what: 'relay',
      arms: ['relayRaw', 'relayPabal', ...librariesOn[broker].relay],
      notes: ['The goal of pabal is 0.5 of the client alone.'],
    }),
  ],
  consume: async (options) => [
    await drained(options, {
      broker,
      what: 'consume',
      arms: ['consumeRaw', 'consumeByHand', 'consumePabal', 'consumeHandled', ...librariesOn[broker].consume],
      notes: ['The goals of pabal, received: 0.3 of the client alone, and 5 times a transaction for each message.'],
    }),
  ],
  latency: async (options) => [
    await latencyOf(options, {
      title: `${brokers[broker].title}: from commit at the producer to the committed effect in another process`,
      names: [`${broker}/latencyPabal`],
      base: `${broker}/latencyPabal`,
      notes: [],
    }),
  ],
})
