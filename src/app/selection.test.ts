import { expect, test } from 'vitest'
import { z } from 'zod'
import { definePublicEvent } from '../event/definition.ts'
import type { Filter } from '../event/filter.ts'
import { selectionFor } from './selection.ts'

const options = { kind: 'domain', schema: z.object({ id: z.string() }), key: ({ id }: { id: string }) => id } as const
const one = () => 'x'
const Placed = definePublicEvent('shop.placed.v1', {
  ...options,
  attributes: { country: one, tenant: one, large: one },
  perKey: ['country', 'tenant'],
})
const Paid = definePublicEvent('shop.paid.v1', {
  ...options,
  attributes: { country: one, tenant: one },
  perKey: ['country', 'tenant'],
})
const Plain = definePublicEvent('shop.noted.v1', options)
const wants = (...filters: readonly (Filter | undefined)[]) =>
  selectionFor(filters.map((filter, n) => ({ definition: n % 2 === 0 ? Placed : Paid, filter })))

test('one handler: what of its filter stays the same for a key', () => {
  expect(wants({ country: ['KR', 'JP'], large: ['yes'] })).toEqual({ country: ['KR', 'JP'] })
  expect(wants({ large: ['yes'] })).toBeUndefined()
  expect(wants(undefined)).toBeUndefined()
})

test('several: names that all of them filter by, with the values that any of them wants', () => {
  expect(wants({ country: ['KR'], tenant: ['a'] }, { country: ['JP', 'KR'] })).toEqual({ country: ['KR', 'JP'] })
  expect(wants({ country: ['KR'] }, { tenant: ['a'] })).toBeUndefined()
  expect(wants({ country: ['KR'] }, undefined)).toBeUndefined()
})

test('an event without attributes is wanted whole', () => {
  const all = { definition: Plain, filter: undefined }
  expect(selectionFor([{ definition: Placed, filter: { country: ['KR'] } }, all])).toBeUndefined()
})

test('nobody wants anything in particular', () => {
  expect(selectionFor([])).toBeUndefined()
})
