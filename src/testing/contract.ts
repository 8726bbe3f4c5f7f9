/** A contract suite: the rules of a port as plain data, which any test runner can run against any adapter. */

/** The promises of pabal, by their numbers: see the README. */
export type Guarantee = 'P1' | 'P2' | 'P3' | 'P4' | 'P5' | 'P6' | 'P7' | 'P8' | 'P9' | 'P10'

/** One rule of a port. */
export interface ContractTest<Harness> {
  /** A sentence in the present tense; unique within its suite. */
  readonly name: string
  /** The promise that falls when this rule does. */
  readonly guarantee?: Guarantee
  /** Rejects, with an AssertionError where a value is wrong, when the adapter breaks the rule. */
  readonly run: (harness: Harness) => Promise<void>
}

/** What an adapter cannot do: the test's name, and the reason, for people to read. */
export type Cannot = Readonly<Record<string, string>>

export interface PlannedTest<Harness> extends ContractTest<Harness> {
  /** Why this adapter does not keep the rule; undefined when it has to. */
  readonly cannot: string | undefined
}

/**
 * The suite as one adapter runs it. A runner tests what has no `cannot`, and prints the reason of the rest:
 *
 * ```ts
 * for (const { name, run, cannot } of plan(storeContract, { 'a read waits for no writer': 'there is one connection' }))
 *   test(name, { skip: cannot ?? false }, () => run(harness))
 * ```
 * @throws when `cannot` names a test that the suite does not have, or gives no reason
 */
export const plan = <Harness>(suite: readonly ContractTest<Harness>[], cannot: Cannot = {}): PlannedTest<Harness>[] => {
  const names = new Set(suite.map(({ name }) => name))
  for (const [name, reason] of Object.entries(cannot)) {
    if (!names.has(name)) throw new Error(`the suite has no test '${name}', which the adapter cannot do`)
    if (reason === '') throw new Error(`the adapter cannot do '${name}', and does not say why`)
  }
  return suite.map((test) => ({ ...test, cannot: Object.hasOwn(cannot, test.name) ? cannot[test.name] : undefined }))
}
