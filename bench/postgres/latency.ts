/** From the return of COMMIT to the start of the handler in another process, at a steady rate. */

import { setTimeout } from 'node:timers/promises'
import { spreadOf } from '../measure.ts'
import { ArmProcess } from './arm-process.ts'
import type { ArmName } from './arms.ts'
import { type Entry, Field } from './field.ts'
import type { Part, PartOptions } from './part.ts'
import { figure, type Table } from './tables.ts'

const everyone: readonly ArmName[] = [
  'notified',
  'pabalUnstarted',
  'pgBossNotified',
  'pgBoss',
  'graphileWorker',
  'emmett',
  'dbos',
]

const perSecond = 200
/** Whatever has not arrived so long after the last commit counts as lost. */
const lostAfterMs = 10_000

interface Run {
  readonly sent: number
  readonly received: number
  /** Milliseconds from the return of COMMIT, sorted. Negative where the consumer was faster than COMMIT's answer. */
  readonly latencies: readonly number[]
  /** Milliseconds that the publishing transactions took, sorted. */
  readonly transactions: readonly number[]
}

const measure = async ({ key, url, process }: Entry, seconds: number): Promise<Run> => {
  await using consumer = new ArmProcess(key)
  await consumer.do('consume', url, 1)
  const { committedAt, transactions } = await process.do('publish', url, { perSecond, seconds })
  const all = committedAt.length + perSecond
  for (let waitedMs = 0; waitedMs < lostAfterMs && (await consumer.do('handled')) < all; waitedMs += 100)
    await setTimeout(100)
  const handledAt = new Map(await consumer.do('stopConsuming'))
  const latencies = committedAt.flatMap(([number, at]) => {
    const handled = handledAt.get(number)
    return handled === undefined ? [] : [Number(BigInt(handled) - BigInt(at)) / 1_000_000]
  })
  const ascending = (a: number, b: number): number => a - b
  return {
    sent: committedAt.length,
    received: latencies.length,
    latencies: latencies.toSorted(ascending),
    transactions: transactions.toSorted(ascending),
  }
}

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN

interface Measured {
  readonly title: string
  readonly names: readonly ArmName[]
  /** Always there. */
  readonly base: ArmName
  readonly notes: readonly string[]
}

export const latencyOf = async (
  { server, only, quick, progress }: PartOptions,
  { title, names, base, notes }: Measured,
): Promise<Table> => {
  const seconds = quick ? 3 : 20
  const rounds = quick ? 1 : 3
  await using field = await Field.of(names, { server, only, part: 'latency', base })
  const runs = new Map<string, Run[]>()
  for (let round = 0; round < rounds; round++)
    for (const entry of round % 2 === 0 ? field.entries : field.entries.toReversed()) {
      progress(`latency: ${entry.key}`)
      try {
        runs.set(entry.key, [...(runs.get(entry.key) ?? []), await measure(entry, seconds)])
      } catch (error) {
        field.broke(entry.key, error)
      }
    }
  const middle = (of: readonly Run[], pick: (run: Run) => number): string => figure(spreadOf(of.map(pick)).median)
  const sum = (of: readonly Run[], pick: (run: Run) => number): string =>
    figure(of.reduce((total, run) => total + pick(run), 0))
  return {
    title: `${title}, ${perSecond} events per second`,
    columns: [
      'arm',
      'p50 ms',
      'p95 ms',
      'p99 ms',
      'max ms',
      'publishing p50 ms',
      'publishing p99 ms',
      'received of sent',
    ],
    rows: field.entries.map(({ key, name }) => {
      const of = runs.get(key)!
      return [
        name,
        ...[0.5, 0.95, 0.99].map((share) => middle(of, ({ latencies }) => percentile(latencies, share))),
        figure(Math.max(...of.map(({ latencies }) => latencies.at(-1) ?? Number.NaN))),
        ...[0.5, 0.99].map((share) => middle(of, ({ transactions }) => percentile(transactions, share))),
        `${sum(of, ({ received }) => received)} / ${sum(of, ({ sent }) => sent)}`,
      ]
    }),
    notes: [
      `${rounds} runs of ${seconds} s after one second of warming up: the median of the runs’ percentiles, the worst run’s maximum. Both processes read one monotonic clock. What had not arrived ${lostAfterMs / 1_000} s after the last commit counts as not received.`,
      ...notes,
      ...field.notes,
    ],
    figures: Object.fromEntries(runs),
  }
}

export const latency: Part = async (options) => [
  await latencyOf(options, {
    title: "Latency: from commit to the handler's start in another process",
    names: everyone,
    base: 'notified',
    notes: ['A library that polls by default polls here as by default.'],
  }),
]
