/** A snapshot that somebody holds open, as a report or a dump does: rates before it, and at the end of the time that it is held. */

import { spreadOf } from '../measure.ts'
import type { ArmName } from './arms.ts'
import { type Entry, Field } from './field.ts'
import type { Part } from './part.ts'
import { keys, type Sample } from './sample.ts'
import { tidy, withClient } from './server.ts'
import { figure, type Table } from './tables.ts'

const names: readonly ArmName[] = ['byHand', 'versioned', 'pabal', 'pgBoss', 'graphileWorker']
const measures = ['spread', 'hot', 'drain', 'tick'] as const
/** As many as make a median. */
const samples = 3

interface Held {
  readonly before: readonly Sample[]
  readonly during: readonly Sample[]
}

interface Sizes {
  readonly heldMs: number
  readonly forMs: number
  readonly drained: number
}

const measure = async ({ url, process, drain }: Entry, { heldMs, forMs, drained }: Sizes): Promise<Held> => {
  if (drain) await process.do('fill', url, drained)
  await tidy(url)
  let waiting = drain ? drained : 0
  const again = async (): Promise<Sample> => {
    const sample = await process.do('sample', url, { forMs, drained, waiting })
    waiting = sample.waiting
    return sample
  }
  await again()
  const before: Sample[] = []
  while (before.length < samples) before.push(await again())
  const during: Sample[] = []
  await withClient(url, async (holder) => {
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await holder.query('SELECT count(*) FROM orders')
    const startMs = performance.now()
    while (performance.now() - startMs < heldMs) during.push(await again())
    await holder.query('COMMIT')
  })
  return { before, during }
}

const rowOf = (name: string, { before, during }: Held): string[] => {
  const middle = (of: readonly Sample[], what: (typeof measures)[number]): number =>
    spreadOf(of.slice(-samples).map((sample) => sample[what] ?? Number.NaN)).median
  return [
    name,
    ...measures.flatMap((what) => {
      const [first, last] = [middle(before, what), middle(during, what)]
      if (Number.isNaN(first)) return ['–', '–']
      return [`${figure(first)} → ${figure(last)}`, figure(what === 'tick' ? first / last : last / first)]
    }),
  ]
}

export const snapshot: Part = async ({ server, only, quick, progress }) => {
  const sizes: Sizes = {
    heldMs: quick ? 10_000 : 60_000,
    forMs: quick ? 500 : 1_000,
    drained: quick ? 10_000 : 50_000,
  }
  await using field = await Field.of(names, { server, only, part: 'snapshot' })
  const figures = new Map<string, Held>()
  for (const entry of field.entries) {
    progress(`snapshot: ${entry.key}`)
    try {
      figures.set(entry.key, await measure(entry, sizes))
    } catch (error) {
      field.broke(entry.key, error)
    }
  }
  const table: Table = {
    title: `A snapshot held open for ${figure(sizes.heldMs / 1_000)} s: before → during`,
    columns: [
      'arm',
      `append over ${figure(keys)} keys, tx/s`,
      'ratio',
      'append to one hot key, tx/s',
      'ratio',
      'drain, events/s',
      'ratio',
      'tick of 1,000 events, ms',
      'ratio',
    ],
    rows: field.entries.map(({ key, name }) => rowOf(name, figures.get(key)!)),
    notes: [
      `REPEATABLE READ, in the same database, while all of this goes on: medians of ${samples} samples before, and of the last ${samples} under the snapshot. A ratio below 1 is slower.`,
      'A drain reads a log from its beginning, and takes as many from a queue, which is filled up where the appends have left fewer.',
      ...field.notes,
    ],
    figures: Object.fromEntries(figures),
  }
  return [table]
}
