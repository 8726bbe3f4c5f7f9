/** Whether a long backlog slows anything down: append and drain with next to nothing stored, and with two million events waiting. */

import type { ArmName } from './arms.ts'
import { type Entry, Field } from './field.ts'
import type { Part } from './part.ts'
import { bytesIn, type Server, tidy } from './server.ts'
import { figure, median, range, type Table } from './tables.ts'
import { type Cost, rateOf, takeTurns, timesTheRate } from './turns.ts'

const names: readonly ArmName[] = ['byHand', 'pabal', 'pgBoss', 'graphileWorker']

interface Sizes {
  readonly long: number
  readonly short: number
  readonly appendMs: number
  readonly limitMs: number
  readonly turns: number
}

interface Measured {
  readonly bytes: { readonly tables: number; readonly indexes: number }
  readonly append: Pair
  readonly drain: Pair
}
interface Pair {
  readonly few: readonly Cost[]
  readonly many: readonly Cost[]
}

const measure = async (server: Server, field: Field, entry: Entry, sizes: Sizes): Promise<Measured | undefined> => {
  const { long, short, appendMs, limitMs, turns } = sizes
  const { key, url, process } = entry
  const [empty, brief] = [await server.database(`empty_${key}`), await server.database(`short_${key}`)]
  try {
    for (const other of [empty, brief]) await process.do('setUpAlso', other)
    await process.do('fill', url, long)
    await tidy(url)
    const bytes = await bytesIn(url)
    const append = { what: 'append', size: 1, forMs: appendMs } as const
    const appended = await takeTurns(
      server,
      field,
      [
        { id: 'append-few', entry, spec: { ...append, url: empty } },
        { id: 'append-many', entry, spec: { ...append, url } },
      ],
      turns,
    )
    const drain = { what: 'drain', limitMs } as const
    const drained = await takeTurns(
      server,
      field,
      [
        { id: 'drain-few', entry, spec: { ...drain, url: brief, backlog: short } },
        { id: 'drain-many', entry, spec: { ...drain, url, backlog: long, filled: long, refillBelow: long / 2 } },
      ],
      Math.min(3, turns),
    )
    if (!field.entries.includes(entry)) return undefined
    return {
      bytes,
      append: { few: appended.get('append-few')!, many: appended.get('append-many')! },
      drain: { few: drained.get('drain-few')!, many: drained.get('drain-many')! },
    }
  } catch (error) {
    field.broke(key, error)
    return undefined
  } finally {
    for (const other of [empty, brief]) await server.drop(other)
  }
}

const rowOf = (name: string, { append, drain, bytes }: Measured, long: number): string[] => {
  const rates = ({ few, many }: Pair): string[] => {
    const times = timesTheRate(many, few)
    return [median(rateOf(few)), median(rateOf(many)), `${median(times)} (${range(times)})`]
  }
  return [name, ...rates(append), ...rates(drain), figure(bytes.tables / long), figure(bytes.indexes / long)]
}

export const backlog: Part = async ({ server, only, quick, rounds, progress }) => {
  const sizes: Sizes = {
    long: quick ? 50_000 : 2_000_000,
    short: quick ? 10_000 : 100_000,
    limitMs: quick ? 2_000 : 4_000,
    appendMs: quick ? 600 : 1_500,
    turns: Math.min(5, rounds),
  }
  const { long, short, limitMs } = sizes
  await using field = await Field.of(names, { server, only, part: 'backlog' })
  const figures = new Map<string, Measured>()
  for (const entry of field.entries) {
    progress(`backlog of ${figure(long)}: ${entry.key}`)
    const measured = await measure(server, field, entry, sizes)
    if (measured !== undefined) figures.set(entry.key, measured)
  }
  const table: Table = {
    title: `Backlog: next to nothing stored against ${figure(long)} events waiting`,
    columns: [
      'arm',
      'append, empty, tx/s',
      'append, backlog, tx/s',
      'ratio',
      `drain of ${figure(short)}, events/s`,
      'drain of the backlog, events/s',
      'ratio',
      'table B/event',
      'index B/event',
    ],
    rows: field.entries.map(({ key, name }) => rowOf(name, figures.get(key)!, long)),
    notes: [
      `Appends as above, in turns on two databases of the arm; the backlog is drained for ${figure(limitMs / 1_000)} s. Bytes right after filling and VACUUM, orders left out.`,
      ...field.notes,
    ],
    figures: Object.fromEntries(figures),
  }
  return [table]
}
