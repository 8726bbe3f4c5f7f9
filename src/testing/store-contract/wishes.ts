/** Wishes for lanes: what an owner is told of them, and who may claim what it gives back. None of it touches the fence. */

import assert from 'node:assert/strict'
import { claim, create, cursorOf, id, longMs, moving, place } from './cursors.ts'
import { eventually, pick, type Process, rule, type StoreRule } from './fixture.ts'

const lanes = [0, 1, 2].map((lane) => ({ ...id, lane }))

const wish = ({ write, cursors }: Process, wishes: readonly number[], wishMs = longMs, of = id) =>
  write((session) => cursors.wish(session, of, wishes, wishMs))
const holders = async ({ read, cursors }: Process, of = id) =>
  (await read((session) => cursors.holders(session, of))).map((row) => ({ ...row }))
const release = ({ write, cursors }: Process, epoch: number, of = id) =>
  write((session) => cursors.release(session, of, epoch))

/** Two processes, one of which has all three lanes. */
const ownerAndOther = async (
  process: Process,
  another: () => Promise<Process>,
  leaseMs = longMs,
): Promise<{ readonly other: Process; readonly me: string; readonly them: string }> => {
  for (const each of lanes) {
    await create(process, each)
    assert.equal((await claim(process, leaseMs, each))?.epoch, 1)
  }
  const other = await another()
  return { other, me: process.database.owner, them: other.database.owner }
}

export const wishRules: readonly StoreRule[] = [
  rule(
    'an owner is told by its next moves which of the lanes in them somebody wishes for',
    async (process, another) => {
      const { other } = await ownerAndOther(process, another)
      assert.deepEqual(await moving(process, 1, place(1)), [])
      await wish(other, [0, 2])
      assert.deepEqual(await moving(process, 1, place(2)), [0])
      const moves = lanes.map(({ lane }) => ({ lane, epoch: 1, from: lane === 0 ? 2 : 0, to: place(3) }))
      const lease = { leaseMs: longMs, stalls: 0 }
      const told = await process.write((session) => process.cursors.move(session, id, moves, lease))
      assert.deepEqual(told?.toSorted(), [0, 2])
    },
  ),

  rule(
    'a wish changes nothing of the fence: only its owner moves a lane, and it does',
    async (process, another) => {
      const { other, me } = await ownerAndOther(process, another)
      await wish(other, [0])
      assert.deepEqual(pick(await cursorOf(process), 'epoch', 'owner', 'position'), {
        epoch: 1,
        owner: me,
        position: 0,
      })
      assert.equal(await claim(other), undefined)
      assert.equal(await moving(other, 1, place(1)), undefined)
      assert.deepEqual(await moving(process, 1, place(1)), [0])
    },
    'P4',
  ),

  rule('a wish that has run out is told to nobody', async (process, another) => {
    const { other, me } = await ownerAndOther(process, another)
    await wish(other, [0], 20)
    await eventually(async () => ((await moving(process, 1, place(1)))?.length === 0 ? true : undefined))
    assert.deepEqual(await holders(process), [
      { lane: 0, owner: me, wisher: null },
      { lane: 1, owner: me, wisher: null },
      { lane: 2, owner: me, wisher: null },
    ])
  }),

  rule('a lane that is given back goes to the one that wished for it, and the wish ends with that', async (...both) => {
    const [process, another] = both
    const { other } = await ownerAndOther(...both)
    const third = await another()
    await wish(other, [0])
    await release(process, 1)
    assert.equal(await claim(third), undefined)
    assert.equal(await claim(process), undefined)
    assert.equal((await claim(other))?.epoch, 2)
    assert.deepEqual(await moving(other, 2, place(1)), [])
    assert.deepEqual(pick(await cursorOf(process), 'wisher', 'wish_until_ms'), { wisher: null, wish_until_ms: 0 })
  }),

  rule('a lane that is given back to one that does not come is free when its wish has run out', async (...both) => {
    const [process] = both
    const { other } = await ownerAndOther(...both)
    await wish(other, [0], 30)
    await release(process, 1)
    assert.equal((await eventually(() => claim(process))).epoch, 2)
  }),

  rule('an owner claims its own lane anew, whoever wishes for it', async (process, another) => {
    const { other } = await ownerAndOther(process, another)
    await wish(other, [0])
    assert.equal((await claim(process))?.epoch, 2)
  }),

  rule('a wish is made for lanes of others that nobody else wishes for, and may be repeated', async (...both) => {
    const [process, another] = both
    const { other, me, them } = await ownerAndOther(...both)
    const third = await another()
    await wish(process, [0, 1, 2])
    await wish(other, [1], 20)
    await wish(other, [1])
    await wish(third, [1, 2])
    await wish(third, [0], longMs, { ...id, source: 'billing' })
    assert.deepEqual(await holders(process), [
      { lane: 0, owner: me, wisher: null },
      { lane: 1, owner: me, wisher: them },
      { lane: 2, owner: me, wisher: third.database.owner },
    ])
  }),

  rule('an owner is one as long as one of its leases lasts; for itself it always is', async (process, another) => {
    const { other, me } = await ownerAndOther(process, another, 20)
    const owners = async (of: Process) => (await holders(of)).map(({ owner }) => owner)
    await eventually(async () => ((await owners(other)).every((owner) => owner === null) ? true : undefined))
    assert.deepEqual(await owners(process), [me, me, me])
    assert.deepEqual(await moving(process, 1, place(1)), [])
    assert.deepEqual(await owners(other), [me, me, me])
    await release(process, 1, { ...id, lane: 2 })
    assert.deepEqual(await owners(other), [me, me, null])
  }),
]
