/**
 * `npm test`: every test there is, then the types, then one summary whose last line is `N passed, N failed`.
 *
 * Arguments go to Vitest (`npm test -- test/layers.test.ts`, `npm test -- -t 'one at a time'`). With
 * PABAL_REQUIRE_SERVERS=1 a skipped test fails the run unless `test/unavailable.json` says why it cannot run there.
 */
import { readFileSync } from 'node:fs'
import { parseCLI, startVitest } from 'vitest/node'
import { type Outcome, OutcomeReporter } from './reporter.ts'
import { declarations, run, types } from './step.ts'
import { verdict } from './summary.ts'

const tested = await runTests(process.argv.slice(2))
const steps = [types, declarations].map((step) => ({ name: step.name, ok: run(step) }))

const { ok, lines } = verdict(
  {
    passed: tested.passed,
    failed: [...tested.failed, ...steps.filter((step) => !step.ok).map((step) => `${step.name}: see above`)],
    skipped: tested.skipped,
  },
  {
    requireServers: process.env['PABAL_REQUIRE_SERVERS'] === '1',
    unavailable: JSON.parse(readFileSync('test/unavailable.json', 'utf8')) as Record<string, string>,
  },
)
console.log(`\n${lines.join('\n')}`)
process.exitCode = ok ? 0 : 1

async function runTests(args: readonly string[]): Promise<Outcome> {
  const { filter, options } = parseCLI(['vitest', 'run', ...args])
  const reporter = new OutcomeReporter()
  // `.only` would leave the rest out unseen.
  await startVitest(filter, { ...options, watch: false, allowOnly: false, reporters: ['default', reporter] })
  const { passed, failed, skipped } = reporter.outcome
  // Vitest knows reasons to fail that are no test's: no file found, a configuration that does not load.
  const unexplained = process.exitCode !== undefined && process.exitCode !== 0 && failed.length === 0
  return {
    passed,
    failed: unexplained ? ['vitest: see above'] : failed,
    // A test that `-t` left out is not a skipped one.
    skipped: options.testNamePattern === undefined ? skipped : skipped.filter((skip) => skip.reason !== undefined),
  }
}
