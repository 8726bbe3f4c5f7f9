/** How the tests run: on the sources, in two forked processes, wherever a test stands beside its subject. */
import { defineConfig } from 'vitest/config'

// `import … from 'pabal'` in an example or a test means `src/`, so nothing has to be built first. Beyond that the
// conditions are Node's own: a dependency must not resolve differently under test. Vitest hands them to its processes.
const conditions = ['pabal-source', 'node']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts'],
    globalSetup: ['test/support/postgres-global.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
