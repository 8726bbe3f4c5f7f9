/** Draining a backlog in one process through a handler that does nothing, and through one that writes a row for each event. */

import type { ArmName } from './arms.ts'
import { Field } from './field.ts'
import type { Part, PartOptions } from './part.ts'
import { figure, median, range, type Table } from './tables.ts'
import { type Cost, rateOf, spread, takeTurns, timesTheCpu, timesTheRate } from './turns.ts'

const logs: readonly ArmName[] = ['byHand', 'prefetching', 'pabal', 'pabalReading', 'pabalPipelined', 'pabalOneLane']
/** Consume what they drain, or are far slower: few rounds. */
const libraries: readonly ArmName[] = ['pgBoss', 'graphileWorker', 'emmett', 'dbos', 'pgTransactionalOutbox']

/** Filling it takes DBOS a minute for 200,000. */
const smaller: Partial<Record<ArmName, number>> = { dbos: 20_000 }
const fewRounds = 3

interface Draining {
  readonly title: string
  readonly names: readonly ArmName[]
  readonly backlog: number
  readonly writes: boolean
  readonly rounds: number
  readonly notes: readonly string[]
}

const measure = async (
  { server, only, quick, progress }: PartOptions,
  { title, names, backlog, writes, rounds, notes }: Draining,
): Promise<Table> => {
  const limitMs = quick ? 3_000 : 8_000
  const backlogOf = (key: ArmName): number => Math.min(backlog, smaller[key] ?? backlog)
  await using field = await Field.of(names, { server, only, part: writes ? 'writing' : 'drain' })
  progress(`drain${writes ? ', writing' : ''}: ${field.entries.map(({ key }) => key).join(', ')}`)
  const costs = await takeTurns(
    server,
    field,
    field.entries.map((entry) => ({
      id: entry.key,
      entry,
      spec: { what: 'drain', url: entry.url, backlog: backlogOf(entry.key), limitMs, writes },
      ...(libraries.includes(entry.key) && { rounds: Math.min(fewRounds, rounds) }),
    })),
    rounds,
  )
  const base = costs.get('byHand')!
  const one = (of: readonly Cost[], pick: (cost: Cost) => number): string => median(spread(of, pick))
  return {
    title,
    columns: [
      'arm',
      'events/s',
      'range',
      'of by hand',
      'range',
      'Node CPU µs/event',
      'Postgres CPU µs/event',
      'CPU of by hand',
      'backlog',
    ],
    rows: field.entries.map(({ key, name }) => {
      const of = costs.get(key)!
      const least = Math.min(...of.map(({ units }) => units))
      const stopped = least < backlogOf(key) ? `, stopped after ${figure(least)}` : ''
      return [
        name,
        median(rateOf(of)),
        range(rateOf(of)),
        median(timesTheRate(of, base)),
        range(timesTheRate(of, base)),
        one(of, ({ cpuUs }) => cpuUs),
        one(of, ({ serverCpuUs }) => serverCpuUs),
        median(timesTheCpu(of, base)),
        `${figure(backlogOf(key))}${stopped}`,
      ]
    }),
    notes: [
      `Medians of ${rounds} rounds; whoever had not finished after ${figure(limitMs / 1_000)} s was stopped, and its rate is that of what it had done.`,
      ...notes,
      ...field.notes,
    ],
    figures: Object.fromEntries(costs),
  }
}

export const drain: Part = async (options) => {
  const { quick, rounds } = options
  const backlog = quick ? 20_000 : 200_000
  return [
    await measure(options, {
      title: 'Drain: a handler that does nothing, one process',
      names: [...logs, ...libraries],
      backlog,
      writes: false,
      rounds,
      notes: [
        `Of the libraries ${Math.min(fewRounds, rounds)} rounds, timed from the first event to the last.`,
        'By hand: a transaction reads 1,000 rows, whose payload the driver parses, and moves a cursor.',
      ],
    }),
    await measure(options, {
      title: 'Drain: a handler that writes one row for each event',
      names: ['byHand', 'pabal', 'pabalPipelined'],
      backlog: backlog / 10,
      writes: true,
      rounds: Math.min(5, rounds),
      notes: ['Each event’s INSERT is waited for, in the transaction that moves the cursor.'],
    }),
  ]
}
