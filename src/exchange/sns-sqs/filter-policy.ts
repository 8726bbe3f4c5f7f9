/**
 * The filter policy of a subscription (https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html): SNS keeps
 * back what has an attribute and none of its wanted values. What does not have the attribute comes, so that nothing is kept back
 * by an older producer or for a value that no message attribute can have.
 */

import type { Selection } from '../transport.ts'

/** By the rules of AWS: names of a policy, and the product of the numbers of values. */
const namesMax = 5
const combinationsMax = 150

const absent = { exists: false }

/** What a message attribute may have as its value; others are not sent as one. */
export const isAttributeValue = (value: unknown): value is string =>
  typeof value === 'string' && /^[\x20-\x7e]+$/.test(value)

export interface FilterPolicy {
  /** In JSON, the same for the same selection; undefined: all comes. */
  readonly policy: string | undefined
  /** Attributes that are too many for a policy, or have too many values: by them the receiving context filters alone. */
  readonly leftOut: readonly string[]
}

export const filterPolicyOf = (selection: Selection = {}): FilterPolicy => {
  const parts: Record<string, unknown[]> = {}
  const leftOut: string[] = []
  let combinations = 1
  for (const [name, values] of Object.entries(selection).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const wanted = [...values.filter(isAttributeValue).toSorted(), absent]
    if (Object.keys(parts).length === namesMax || combinations * wanted.length > combinationsMax) leftOut.push(name)
    else {
      parts[name] = wanted
      combinations *= wanted.length
    }
  }
  return { policy: Object.keys(parts).length === 0 ? undefined : JSON.stringify(parts), leftOut }
}

/** Whether it is one that is made here, of whatever selection: then it may be replaced. */
export const isOurs = (policy: string): boolean => {
  const parsed: unknown = JSON.parse(policy)
  return (
    typeof parsed === 'object' &&
    parsed !== null &&
    !Array.isArray(parsed) &&
    Object.values(parsed).every((values: unknown) => Array.isArray(values) && values.some(isAbsent))
  )
}

const isAbsent = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && (value as { exists?: unknown }).exists === false

/** Whether two of ours let the same through, in whatever order and spacing AWS or Terraform hold them. */
export const isSamePolicy = (one: string | undefined, other: string | undefined): boolean =>
  one === other || (one !== undefined && other !== undefined && inOrder(one) === inOrder(other))

const inOrder = (policy: string): string =>
  JSON.stringify(
    Object.entries(JSON.parse(policy) as Record<string, readonly unknown[]>)
      .map(([name, values]) => [name, ...values.map((value) => JSON.stringify(value)).toSorted()])
      .toSorted(([a], [b]) => (a! < b! ? -1 : 1)),
  )
