/** `npm run check`: what a change must pass before it is shown to anyone, cheapest first, under a minute, no servers. */
import { declarations, run, type Step, types } from './step.ts'

const steps: readonly Step[] = [
  { name: 'format', command: 'biome', args: ['format', '.'] },
  { name: 'lint', command: 'npm', args: ['run', '--silent', 'lint'] },
  types,
  declarations,
  { name: 'layers', command: 'vitest', args: ['run', 'test/layers.test.ts'] },
  { name: 'unit', command: 'vitest', args: ['run', 'src/', '--exclude', '**/*.server.test.ts'] },
]

const startedAt = performance.now()
const failed = steps.find((step) => !run(step))
const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
console.log(`\n${failed === undefined ? 'check: ok' : `check: stopped at ${failed.name}`} in ${seconds} s`)
process.exitCode = failed === undefined ? 0 : 1
