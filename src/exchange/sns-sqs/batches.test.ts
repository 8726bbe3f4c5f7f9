import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Published } from '../transport.ts'
import { sendInBatches, type Waiting } from './batches.ts'
import { bytesMax } from './message.ts'

class Refused extends Error {}

interface Message {
  readonly group: string
  readonly bytes: number
  /** The broker does not take it. */
  readonly fails: boolean
  /** The broker takes no request that has it. */
  readonly poisons: boolean
}

const rarely = fc.integer({ min: 0, max: 15 }).map((n) => n === 15)
const messages: fc.Arbitrary<Message[]> = fc.array(
  fc.record({
    group: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    bytes: fc.constantFrom(100, 1_000, 50_000, bytesMax),
    fails: rarely,
    poisons: rarely,
  }),
  { maxLength: 80 },
)

const publish = async (
  all: readonly Message[],
  { order, breaksAt = Infinity }: { order: readonly number[]; breaksAt?: number },
) => {
  const waiting = all.map((entry, index): Waiting<Message> => ({ ...entry, index, entry }))
  const outcomes: Published[] = all.map(() => undefined)
  const sent: Message[] = []
  const accepted: Message[] = []
  const busy = new Map<string, number>()
  let underWay = 0
  let requests = 0
  let overlaps = 0
  await sendInBatches(
    waiting,
    outcomes,
    async (entries) => {
      const turn = requests++
      const groups = new Set(entries.map(({ group }) => group))
      for (const group of groups) {
        if (busy.has(group)) overlaps++
        busy.set(group, 1)
      }
      underWay++
      expect(underWay).toBeLessThanOrEqual(3)
      expect(entries.length).toBeLessThanOrEqual(10)
      expect(entries.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(bytesMax)
      sent.push(...entries)
      for (let turns = order[turn % order.length]!; turns > 0; turns--) await Promise.resolve()
      for (const group of groups) busy.delete(group)
      underWay--
      if (turn >= breaksAt) throw new Error('the broker is away')
      if (entries.some(({ poisons }) => poisons)) throw new Refused('not like that')
      accepted.push(...entries.filter(({ fails }) => !fails))
      return entries.map(({ fails }) => (fails ? { error: new Error('not this one') } : undefined))
    },
    {
      inFlight: 3,
      isForOne: (error) => error instanceof Refused,
      isForAll: (error) => !(error instanceof Refused),
    },
  )
  return { outcomes, sent, accepted, overlaps, requests }
}

const byGroup = (all: readonly Message[]): Message[][] => [...Map.groupBy(all, ({ group }) => group).values()]

describe('messages in requests', () => {
  test('fill them', async () => {
    const all = Array.from(
      { length: 95 },
      (_, n): Message => ({
        group: `key-${n % 12}`,
        bytes: 10,
        fails: false,
        poisons: false,
      }),
    )
    const { requests, outcomes } = await publish(all, { order: [3] })
    expect(outcomes.every((outcome) => outcome === undefined)).toBe(true)
    expect(requests).toBeLessThanOrEqual(13)
  })

  test('keep the order of each group, whatever fails, and nothing is confirmed behind a failure of its group', async () => {
    await fc.assert(
      fc.asyncProperty(
        messages,
        fc.array(fc.nat(6), { minLength: 1 }),
        fc.option(fc.nat(8), { nil: undefined }),
        async (all, order, breaksAt) => {
          const { outcomes, sent, accepted, overlaps } = await publish(all, {
            order,
            ...(breaksAt === undefined ? {} : { breaksAt }),
          })
          expect(overlaps).toBe(0)
          const confirmed = new Set(all.filter((_, index) => outcomes[index] === undefined))
          for (const each of confirmed) expect(accepted).toContain(each)
          for (const group of byGroup(all)) {
            const kinds = group.map((each) => confirmed.has(each))
            expect(kinds).toEqual(kinds.toSorted((a, b) => Number(b) - Number(a)))
            // One that poisoned its request was sent again alone.
            const once = [...new Set(sent.filter((each) => each.group === group[0]!.group))]
            expect(once).toEqual(group.slice(0, once.length))
          }
          if (breaksAt === undefined)
            for (const group of byGroup(all)) {
              const first = group.findIndex(({ fails, poisons }) => fails || poisons)
              const expected = first === -1 ? group : group.slice(0, first)
              expect(group.filter((each) => confirmed.has(each))).toEqual(expected)
            }
        },
      ),
    )
  })
})
