/** The verdict on a test run: which skips are accepted, and the lines that a person and a machine read last. */
import type { Outcome, Skipped } from './reporter.ts'

export interface Verdict {
  readonly ok: boolean
  /** The last line is `N passed, N failed`, with `, N skipped` only when there are any. */
  readonly lines: readonly string[]
}

export interface Policy {
  /** A skip fails the run unless `unavailable` names it: for CI, where a server that is missing hides a guarantee. */
  readonly requireServers: boolean
  /** Name of a suite or path of its file → why it cannot run there. */
  readonly unavailable: Readonly<Record<string, string>>
}

export function verdict(outcome: Outcome, policy: Policy): Verdict {
  const excuse = (skip: Skipped) => policy.unavailable[bareName(skip)] ?? policy.unavailable[skip.file]
  const refused = policy.requireServers ? outcome.skipped.filter((skip) => excuse(skip) === undefined) : []
  const accepted = outcome.skipped.filter((skip) => !refused.includes(skip))
  const idle = outcome.passed + outcome.failed.length + refused.length === 0 ? ['no test ran'] : []

  const failed = outcome.failed.length + testsIn(refused) + idle.length
  const skipped = testsIn(accepted)
  return {
    ok: failed === 0,
    lines: [
      ...section(
        'Skipped',
        accepted.map((skip) => described(skip, excuse(skip))),
      ),
      ...section('Failed', [
        ...outcome.failed,
        ...refused.map((skip) => `${described(skip)} (neither run nor listed in test/unavailable.json)`),
        ...idle,
      ]),
      `${outcome.passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`,
    ],
  }
}

function described(skip: Skipped, reason = skip.reason ?? 'no reason given'): string {
  return `${skip.file} > ${bareName(skip)} [${skip.tests}]: ${reason}`
}

function bareName(skip: Skipped): string {
  return skip.name.replace(/ \(skipped: .+\)$/, '')
}

function testsIn(skips: readonly Skipped[]): number {
  return skips.reduce((sum, skip) => sum + skip.tests, 0)
}

function section(title: string, entries: readonly string[]): string[] {
  return entries.length > 0 ? [title, ...entries.map((entry) => `  ${entry}`), ''] : []
}
