import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SequencedEvent } from '../event/cloudevents/received-event.ts'
import type { InboxHead } from '../store/store.ts'
import { type Arrived, sort, type SortOptions } from './arrival.ts'

interface Place {
  readonly id?: string
  readonly sequence: number
  readonly previous: number
  readonly incarnation?: string
}

/** Ids are by sequence unless another one is given. */
const event = ({ sequence, previous, id = `event-${sequence}`, incarnation = 'one' }: Place): SequencedEvent =>
  ({
    id,
    sequence,
    previousSequence: previous,
    previousId: previous === 0 ? undefined : `event-${previous}`,
    incarnation,
  }) as SequencedEvent

const head = (sequence: number, incarnation = 'one'): InboxHead => ({
  sequence,
  eventId: `event-${sequence}`,
  incarnation,
})

const arrived = (place: Place, early = false): Arrived => ({ event: event(place), early })

const never = async (): Promise<boolean> => false
const sorted = async (at: InboxHead | undefined, of: readonly Arrived[], options: Partial<SortOptions> = {}) => {
  const { next, waiting, over, head: last } = await sort(at, of, { fromFirst: true, isKnown: never, ...options })
  const numbers = (each: readonly Arrived[]) => each.map(({ event: { sequence } }) => sequence)
  return {
    next: numbers(next),
    waiting: waiting.map(({ arrived: each, for: reason }) => [each.event.sequence, reason]),
    over: numbers(over),
    head: last?.sequence,
  }
}

describe('events of a key that have arrived', () => {
  test('are next, whatever their order, where nothing is between them', async () => {
    const of = [
      { sequence: 5, previous: 3 },
      { sequence: 1, previous: 0 },
      { sequence: 3, previous: 1 },
    ].map((place) => arrived(place))
    expect(await sorted(undefined, of)).toEqual({ next: [1, 3, 5], waiting: [], over: [], head: 5 })
  })

  test('wait for what is between', async () => {
    const of = [arrived({ sequence: 4, previous: 3 }), arrived({ sequence: 5, previous: 4 })]
    const waiting = [
      [4, 'gap'],
      [5, 'gap'],
    ]
    expect(await sorted(head(1), of)).toEqual({ next: [], waiting, over: [], head: 1 })
  })

  test('of a key that begins in its middle wait, unless whoever receives has come late', async () => {
    const of = [arrived({ sequence: 4, previous: 3 })]
    expect((await sorted(undefined, of)).waiting).toEqual([[4, 'gap']])
    expect((await sorted(undefined, of, { fromFirst: false })).next).toEqual([4])
  })

  test('are over when they came before, or twice', async () => {
    const of = [
      arrived({ sequence: 2, previous: 1 }),
      arrived({ sequence: 3, previous: 2 }),
      arrived({ sequence: 3, previous: 2 }),
    ]
    expect(await sorted(head(2), of)).toEqual({ next: [3], waiting: [], over: [2, 3], head: 3 })
  })

  test('that are whole states wait for nothing; one that comes behind a newer one is over', async () => {
    const newer = [arrived({ sequence: 7, previous: 6 }), arrived({ sequence: 5, previous: 4 })]
    expect(await sorted(head(2), newer, { latest: true })).toEqual({ next: [5, 7], waiting: [], over: [], head: 7 })
    const older = [arrived({ sequence: 3, previous: 2 })]
    expect(await sorted(head(7), older, { latest: true })).toEqual({ next: [], waiting: [], over: [3], head: 7 })
  })

  test('have diverged when another event has their place, or was before them', async () => {
    expect((await sorted(head(2), [arrived({ sequence: 2, previous: 1, id: 'other' })])).waiting).toEqual([
      [2, 'diverged'],
    ])
    const other = { sequence: 2, eventId: 'other', incarnation: 'one' }
    expect((await sorted(other, [arrived({ sequence: 3, previous: 2 })])).waiting).toEqual([[3, 'diverged']])
  })

  test('of a log that was restored are new only when what was received is not among them', async () => {
    const behind = [arrived({ sequence: 3, previous: 2, incarnation: 'two', id: 'new' })]
    expect((await sorted(head(5), behind)).waiting).toEqual([[3, 'diverged']])
    expect((await sorted(head(5), behind, { isKnown: async () => true })).over).toEqual([3])
    expect((await sorted(head(2), behind)).next).toEqual([3])
  })

  test('however they come, each is next once, in order', async () => {
    // Sequences that were published, with gaps between them.
    const chain = fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { minLength: 1 }).map((numbers) => {
      const published = numbers.toSorted((a, b) => a - b)
      return published.map((sequence, i) => ({ sequence, previous: published[i - 1] ?? 0 }))
    })
    const deliveries = chain.chain((places) =>
      fc.record({
        places: fc.constant(places),
        // Each at least once, in any order, in batches of any size.
        batches: fc
          .tuple(
            fc.shuffledSubarray(places, { minLength: places.length }),
            fc.array(fc.constantFrom(...places), { maxLength: 20 }),
          )
          .chain(([all, again]) =>
            fc.tuple(fc.constant([...all, ...again]), fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 60 })),
          ),
      }),
    )
    await fc.assert(
      fc.asyncProperty(deliveries, async ({ places, batches: [stream, sizes] }) => {
        let at: InboxHead | undefined
        let early: Arrived[] = []
        const received: number[] = []
        for (let from = 0, n = 0; from < stream.length; n++) {
          const batch = stream.slice(from, (from += sizes[n]!)).map((place) => arrived(place))
          const result = await sort(at, [...early, ...batch], { fromFirst: true, isKnown: never })
          received.push(...result.next.map(({ event: { sequence } }) => sequence))
          const waiting = new Map(result.waiting.map(({ arrived: each }) => [each.event.sequence, each.event]))
          early = [...waiting.values()].map((each) => ({ event: each, early: true }))
          at = result.head
        }
        expect(received).toEqual(places.map(({ sequence }) => sequence))
        expect(early).toEqual([])
      }),
    )
  })
})
