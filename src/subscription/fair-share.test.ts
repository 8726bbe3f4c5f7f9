/** Who asks whom for lanes: always the one with too few the one with too many, until nobody has either. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { LaneHolder } from '../store/store.ts'
import { lanesToWishFor } from './fair-share.ts'

/** Lanes by their owner's letter, with the wisher's behind it: `'a a b ab -'`. */
const lanesOf = (text: string): LaneHolder[] =>
  text.split(' ').map((letters, lane) => {
    const [owner = '-', wisher = null] = letters
    return { lane, owner: owner === '-' ? null : owner, wisher }
  })
const all = new Set(Array.from({ length: 32 }, (_, lane) => lane))

test.each([
  ['half of what one has that has all', 'a a a a', 'b', [3, 2]],
  ['nothing with a fair share, though others have one more', 'a a a b b', 'b', []],
  ['nothing where one lane is busy', 'a', 'b', []],
  ['nothing where there are more processes than lanes', 'a b c', 'd', []],
  ['the one that has most', 'a a b b b b', 'c', [5, 4]],
  ['a third where somebody else has asked before', 'a a a a ab ab', 'c', [3, 2]],
  ['the same again', 'a ab ab a', 'b', [2, 1]],
  ['nothing of what is given back to somebody', 'a -b -b', 'c', []],
  ['half of what is held: lanes of nobody are there to be claimed', 'a a - - - - - -', 'b', [1]],
  ['nothing of itself', 'b b b b', 'b', []],
])('a process asks for %s', (_, lanes, me, wishes) => {
  expect(lanesToWishFor(lanesOf(lanes), me, all)).toEqual(wishes)
})

test('a process asks only for lanes with work in them, and for at most half of these', () => {
  const lanes = lanesOf('a a a a a a a a')
  expect(lanesToWishFor(lanes, 'b', new Set([0, 1, 2]))).toEqual([2])
  expect(lanesToWishFor(lanes, 'b', new Set([5]))).toEqual([])
  expect(lanesToWishFor(lanes, 'b', new Set())).toEqual([])
})

test('however lanes are held, asking and giving comes to an end, with as many for each as is fair', () => {
  const owners = ['a', 'b', 'c', 'd', 'e']
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...owners), { minLength: 1, maxLength: 32 }), fc.nat(), (held, seed) => {
      let lanes: readonly LaneHolder[] = held.map((owner, lane) => ({ lane, owner, wisher: null }))
      const sharing = owners.slice(0, 2 + (seed % 4))
      lanes = lanes.map((row) => (sharing.includes(row.owner!) ? row : { ...row, owner: 'a' }))
      let given = 0
      for (let quiet = 0, turn = 0; quiet < sharing.length; turn++) {
        const me = sharing[turn % sharing.length]!
        const wishes = lanesToWishFor(lanes, me, all)
        given += wishes.length
        quiet = wishes.length === 0 ? quiet + 1 : 0
        lanes = lanes.map((row) => (wishes.includes(row.lane) ? { ...row, owner: me } : row))
      }
      expect(given).toBeLessThanOrEqual(held.length)
      const counts = sharing.map((one) => lanes.filter(({ owner }) => owner === one).length)
      expect(Math.min(...counts)).toBe(Math.floor(held.length / sharing.length))
    }),
  )
})
