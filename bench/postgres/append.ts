/** Appending: an order row with one event, and with a hundred, in each of 16 concurrent transactions. */

import { workers } from './append-turn.ts'
import type { ArmName } from './arms.ts'
import { Field } from './field.ts'
import type { Part } from './part.ts'
import { median, range, type Table } from './tables.ts'
import { type Cost, type Costs, rateOf, spread, takeTurns, timesTheCpu, timesTheRate } from './turns.ts'

const names: readonly ArmName[] = [
  'withoutEvents',
  'byHand',
  'pipelined',
  'versioned',
  'unnest',
  'unnestPipelined',
  'pabal',
  'pabalPipelined',
  'pgBoss',
  'graphileWorker',
  'emmett',
  'dbos',
  'pgTransactionalOutbox',
]

const tableOf = (size: 1 | 100, field: Field, costs: Costs, rounds: number): Table => {
  const base = costs.get('byHand')!
  const one = (of: readonly Cost[], pick: (cost: Cost) => number): string => median(spread(of, pick))
  return {
    title:
      size === 1
        ? 'Append: an order row and one event per transaction'
        : 'Append: an order row and 100 events of 100 keys per transaction',
    columns: [
      'arm',
      size === 1 ? 'tx/s' : 'events/s',
      'range',
      'of by hand',
      'range',
      'Node CPU µs/event',
      'Postgres CPU µs/event',
      'CPU of by hand',
      'WAL B/event',
      'fsyncs/tx',
    ],
    rows: field.entries.flatMap(({ key, name }) => {
      const of = costs.get(key)
      if (of === undefined) return []
      return [
        [
          name,
          median(rateOf(of)),
          range(rateOf(of)),
          median(timesTheRate(of, base)),
          range(timesTheRate(of, base)),
          one(of, ({ cpuUs }) => cpuUs),
          one(of, ({ serverCpuUs }) => serverCpuUs),
          median(timesTheCpu(of, base)),
          one(of, ({ walBytes }) => walBytes),
          one(of, ({ fsyncs }) => fsyncs),
        ],
      ]
    }),
    notes: [
      `${workers} transactions at once on a pool of ${workers}; medians of ${rounds} rounds. WAL is that of the whole transaction, the order row included.`,
      ...field.notes,
    ],
    figures: Object.fromEntries(costs),
  }
}

export const append: Part = async ({ server, only, quick, rounds, progress }) => {
  const tables: Table[] = []
  for (const size of [1, 100] as const) {
    await using field = await Field.of(names, { server, only, part: `append_${size}` })
    const able = field.entries.filter(({ one, hundred }) => (size === 1 ? one : hundred))
    progress(`append ${size}: ${able.map(({ key }) => key).join(', ')}`)
    const costs = await takeTurns(
      server,
      field,
      able.map((entry) => ({
        id: entry.key,
        entry,
        spec: { what: 'append', url: entry.url, size, forMs: quick ? 600 : 1_500 },
      })),
      rounds,
    )
    tables.push(tableOf(size, field, costs, rounds))
  }
  return tables
}
