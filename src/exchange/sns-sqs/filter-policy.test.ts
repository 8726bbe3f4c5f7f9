import { expect, test } from 'vitest'
import { filterPolicyOf, isOurs, isSamePolicy } from './filter-policy.ts'

const values = (count: number): string[] => Array.from({ length: count }, (_, n) => `v${n}`)
const policyOf = (selection: Parameters<typeof filterPolicyOf>[0]): unknown => {
  const { policy } = filterPolicyOf(selection)
  return policy === undefined ? undefined : JSON.parse(policy)
}

test('values, and what does not have the attribute; the same text whatever the order', () => {
  expect(policyOf({ country: ['KR', 'JP'] })).toEqual({ country: ['JP', 'KR', { exists: false }] })
  expect(filterPolicyOf({ b: ['1'], a: ['3', '2'] })).toEqual(filterPolicyOf({ a: ['2', '3'], b: ['1'] }))
  expect(policyOf(undefined)).toBeUndefined()
})

test('a value that no message attribute has is not asked for: it comes without', () => {
  expect(policyOf({ city: ['서울', 'Busan'] })).toEqual({ city: ['Busan', { exists: false }] })
})

test('what is more than SNS takes is left to the receiving context', () => {
  expect(filterPolicyOf({ country: values(149) }).leftOut).toEqual([])
  expect(filterPolicyOf({ country: values(150) })).toEqual({ policy: undefined, leftOut: ['country'] })
  const { policy, leftOut } = filterPolicyOf({ a: values(9), b: values(9), c: values(9) })
  expect([Object.keys(JSON.parse(policy!) as object), leftOut]).toEqual([['a', 'b'], ['c']])
  const six = Object.fromEntries(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => [name, ['x']]))
  expect(filterPolicyOf(six).leftOut).toEqual(['f'])
})

test('a policy is ours when it lets through what does not have its attributes', () => {
  expect(isOurs(filterPolicyOf({ country: ['KR'], tenant: ['a'] }).policy!)).toBe(true)
  for (const theirs of ['{"type":["shop.order-placed.v1"]}', '{"a":["x",{"exists":false}],"b":["y"]}', '[]', 'null'])
    expect(isOurs(theirs)).toBe(false)
})

test('the same policy in another order or spacing is the same', () => {
  const { policy } = filterPolicyOf({ tenant: ['a'], country: ['KR', 'JP'] })
  const theirs = '{ "tenant": [{"exists": false}, "a"], "country": [{"exists":false},"KR","JP"] }'
  expect(isSamePolicy(policy, theirs)).toBe(true)
  expect(isSamePolicy(policy, filterPolicyOf({ tenant: ['a'], country: ['KR'] }).policy)).toBe(false)
  expect([isSamePolicy(policy, undefined), isSamePolicy(undefined, undefined)]).toEqual([false, true])
})
