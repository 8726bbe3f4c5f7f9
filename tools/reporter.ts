/** What a test run came to, as plain data: collected beside Vitest's own reporter, which prints the failures. */
import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node'

export interface Skipped {
  /** The test file, from the repository's root. */
  readonly file: string
  /** The whole suite where all of it is skipped, else the single test. */
  readonly name: string
  readonly tests: number
  /** `… (skipped: reason)` at the end of a title, or the note of `context.skip(note)`. */
  readonly reason: string | undefined
}

export interface Outcome {
  readonly passed: number
  /** One line each; a suite that could not be loaded or set up is a failure of its own. */
  readonly failed: readonly string[]
  readonly skipped: readonly Skipped[]
}

export class OutcomeReporter implements Reporter {
  outcome: Outcome = { passed: 0, failed: [], skipped: [] }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly { readonly message?: string }[]): void {
    const parts = modules.map(ofModule)
    this.outcome = {
      passed: parts.reduce((sum, part) => sum + part.passed, 0),
      failed: [
        ...parts.flatMap((part) => part.failed),
        ...unhandled.map((error) => `an error that no test caught: ${firstLine(error.message)}`),
      ],
      skipped: parts.flatMap((part) => part.skipped),
    }
  }
}

function ofModule(module: TestModule): Outcome {
  const file = module.relativeModuleId
  const tests = [...module.children.allTests()]
  const broken = [module, ...module.children.allSuites()].flatMap((suite) =>
    suite
      .errors()
      .map((error) => `${file}${suite.type === 'suite' ? ` > ${suite.fullName}` : ''}: ${firstLine(error.message)}`),
  )
  // A test still pending at the end ran in a process that died or was cut off.
  const lost = tests.filter((test) => test.result().state === 'failed' || test.result().state === 'pending')
  return {
    passed: tests.filter((test) => test.result().state === 'passed').length,
    failed: [...broken, ...lost.map((test) => `${file} > ${test.fullName}`)],
    skipped: broken.length > 0 ? [] : [...skippedIn(module, file)],
  }
}

function* skippedIn(parent: TestModule | TestSuite, file: string): Generator<Skipped> {
  for (const child of parent.children) {
    if (child.type === 'test') {
      if (child.result().state === 'skipped')
        yield { file, name: child.fullName, tests: 1, reason: statedReason(child) }
      continue
    }
    const tests = [...child.children.allTests()]
    const whole = child.options.mode === 'skip' && tests.every((test) => test.result().state === 'skipped')
    if (whole) yield { file, name: child.fullName, tests: tests.length, reason: statedReason(child) }
    else yield* skippedIn(child, file)
  }
}

function statedReason(task: TestCase | TestSuite): string | undefined {
  const result = task.type === 'test' ? task.result() : undefined
  const note = result?.state === 'skipped' ? result.note : undefined
  return note ?? /\(skipped: (.+)\)$/.exec(task.name)?.[1]
}

function firstLine(message: string | undefined): string {
  return (message ?? 'unknown').split('\n', 1)[0] ?? ''
}
