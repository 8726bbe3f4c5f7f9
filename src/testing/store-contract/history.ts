/** Random histories of a log against a model: what committed is there, in order and without gaps, for everyone (P1, P2, P3). */

import assert from 'node:assert/strict'
import type { StoredEvent } from '../../event/envelope.ts'
import { ids, type Process, processOn, raised, type StoreHarness, type StoreRule, Undo } from './fixture.ts'

/** One unit of work of a history. */
export interface HistoryUnit {
  /** Which process runs it: 0, 1 … */
  readonly process: number
  /** The keys of the events that it appends, one append each. */
  readonly keys: readonly string[]
  /** Keys of events appended in a savepoint that is undone, before the others. */
  readonly undone: readonly string[]
  /** Gives way to other code after each append. */
  readonly awaits: boolean
  readonly throws: boolean
}

const run = async (process: Process, unit: HistoryUnit): Promise<readonly string[]> => {
  const events = unit.keys.map((key) => raised({ key }))
  const giveWay = () => (unit.awaits ? new Promise((resolve) => setImmediate(resolve)) : undefined)
  try {
    await process.write(async (session) => {
      if (unit.undone.length > 0)
        try {
          await session.savepoint(async () => {
            await process.log.append(
              session,
              unit.undone.map((key) => raised({ key })),
            )
            await giveWay()
            throw new Undo()
          })
        } catch (error) {
          if (!(error instanceof Undo)) throw error
        }
      for (const event of events) {
        await process.log.append(session, [event])
        await giveWay()
      }
      if (unit.throws) throw new Undo()
    })
    return ids(events)
  } catch (error) {
    if (!(error instanceof Undo)) throw error
    return []
  }
}

/** Reads on from where it stood, as a cursor does. */
const follow = async (process: Process, seen: StoredEvent[], limit: number): Promise<void> => {
  for (let position = seen.at(-1)?.position ?? 0; ; ) {
    const { events, through } = await process.read((session) =>
      process.log.readAfter(session, { after: position, limit }),
    )
    seen.push(...events)
    if (through === position) return
    position = through
  }
}

/**
 * Runs rounds of units, those of one round at the same time, over as many processes as they name, and rejects when the log is
 * not what the units that committed have appended: all of it and nothing else, each unit's events in their order, positions and
 * each key's sequences without a gap, nothing ever moved, the same for every reader.
 */
export const checkHistory = async (
  harness: StoreHarness,
  rounds: readonly (readonly HistoryUnit[])[],
): Promise<void> => {
  await using store = await harness.create()
  const count = 1 + Math.max(0, ...rounds.flat().map(({ process }) => process))
  const processes: Process[] = []
  while (processes.length < count) processes.push(await processOn(await store.open()))
  const committed: (readonly string[])[] = []
  const followers = processes.map((): StoredEvent[] => [])
  for (const round of rounds) {
    const reading = processes.map((process, n) => follow(process, followers[n]!, 3))
    const units = await Promise.all(round.map((unit) => run(processes[unit.process]!, unit)))
    await Promise.all(reading)
    committed.push(...units.filter((unit) => unit.length > 0))

    for (const [n, process] of processes.entries()) await follow(process, followers[n]!, 3)
    for (const seen of followers) check(seen, committed)
  }
}

const check = (seen: readonly StoredEvent[], committed: readonly (readonly string[])[]): void => {
  assert.deepEqual(ids(seen).toSorted(), committed.flat().toSorted(), 'P1: the log is not what has committed')
  assert.deepEqual(
    seen.map(({ position }) => position),
    seen.map((_, n) => n + 1),
    'P2: the positions have gaps or another order',
  )
  const place = new Map(seen.map(({ id, position }) => [id, position]))
  for (const unit of committed)
    for (const [n, id] of unit.entries())
      if (n > 0) assert.ok(place.get(id)! > place.get(unit[n - 1]!)!, 'P2: a unit is in another order')
  const sequences = new Map<string, number>()
  for (const { key, sequence } of seen) {
    const next = (sequences.get(key) ?? 0) + 1
    assert.equal(sequence, next, `P3: key ${key} has ${sequence} where ${next} belongs`)
    sequences.set(key, next)
  }
}

/** Mulberry32: the same numbers from 0 up to 1 for the same seed, everywhere. */
const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
}

/** For runners without a property library: the same history for the same seed. */
const historyOf = (seed: number, processes: number): HistoryUnit[][] => {
  const next = random(seed)
  const below = (n: number) => Math.floor(next() * n)
  const keys = (max: number) => Array.from({ length: below(max + 1) }, () => ['a', 'b', '주문'][below(3)]!)
  const unit = (): HistoryUnit => ({
    process: below(processes),
    keys: keys(4),
    undone: next() < 0.3 ? keys(3) : [],
    awaits: next() < 0.5,
    throws: next() < 0.3,
  })
  return Array.from({ length: 12 }, () => Array.from({ length: 1 + below(4) }, unit))
}

export const historyRules: readonly StoreRule[] = [
  {
    name: 'a log is what its units have committed, over any history of one process',
    guarantee: 'P1',
    run: async (harness) => {
      for (const seed of [1, 2, 3]) await checkHistory(harness, historyOf(seed, 1))
    },
  },
  {
    name: 'a log is what its units have committed, over any history of three processes',
    guarantee: 'P1',
    run: async (harness) => {
      for (const seed of [4, 5, 6]) await checkHistory(harness, historyOf(seed, 3))
    },
  },
]
