/** What the compiler does for a context grows with its events, and no faster: 300 events must not cost more than ten times 30. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

interface Cost {
  readonly types: number
  readonly instantiations: number
}

// Below the repository, so that `pabal` and `zod` resolve as they do for a user; ignored by git.
mkdirSync('.data', { recursive: true })
const folder = mkdtempSync(join('.data', 'type-scale-'))
const costs = new Map<number, Cost>()

beforeAll(() => {
  for (const events of [0, 30, 300]) costs.set(events, costOf(events))
})

afterAll(() => rmSync(folder, { recursive: true }))

// Counted without what the library and the validator cost before the first event: beside it any growth would look small.
// Twelve for ten leaves room for what belongs to the whole (a list of all events); a quadratic type would come to a hundred.
test.each(['types', 'instantiations'] as const)('300 events take no more than twelve times the %s of 30', (count) => {
  const [none, some, many] = [0, 30, 300].map((events) => costs.get(events)?.[count] ?? Number.NaN) as [
    number,
    number,
    number,
  ]

  expect(some - none).toBeGreaterThan(0)
  expect((many - none) / (some - none)).toBeLessThanOrEqual(12)
})

/** Compiles a context of so many events, in one thread: with several the counts depend on how the files were dealt out. */
function costOf(events: number): Cost {
  const project = join(folder, String(events))
  mkdirSync(project)
  for (const [name, text] of Object.entries(contextOf(events))) writeFileSync(join(project, name), text)
  const { stdout } = spawnSync('tsc', ['-p', project, '--extendedDiagnostics', '--singleThreaded'], {
    encoding: 'utf8',
  })
  expect(stdout).not.toContain('error TS')
  const counted = (label: string) => Number(new RegExp(`^${label}:\\s+(\\d+)`, 'm').exec(stdout)?.[1])
  return { types: counted('Types'), instantiations: counted('Instantiations') }
}

/** Every event has a payload of its own, a handler of its own that raises it again, and a case in one handler of all. */
function contextOf(events: number): Record<string, string> {
  const each = (line: (n: number) => string) => Array.from({ length: events }, (_, n) => line(n)).join('\n')
  const all = Array.from({ length: events }, (_, n) => `Happened${n}`).join(', ')
  return {
    'tsconfig.json': JSON.stringify({ extends: '../../../tsconfig.json', include: ['*.ts'] }),
    'events.ts': `
import { defineEvent } from 'pabal'
import { z } from 'zod'
${each(
  (n) => `export const Happened${n} = defineEvent('scale.happened-${n}', {
  schema: z.object({ id: z.string(), of${n}: z.number() }),
  key: (data) => data.id,
})`,
)}`,
    'context.ts': `
import { defineContext } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { ${all} } from './events.ts'
export const scale = defineContext('scale', { store: sqlite, events: [${all}] })`,
    'handlers.ts': `
import { scale } from './context.ts'
import { ${all} } from './events.ts'
${each(
  (n) => `export const on${n} = scale.on(Happened${n}, 'on-${n}', ({ data }, { tx, raise }) => {
  tx.run('insert into seen values (?)', data.id)
  raise(Happened${n}, { id: data.id, of${n}: data.of${n} + 1 })
})`,
)}
${
  events === 0
    ? ''
    : `export const onAll = scale.on([${all}], 'on-all', ({ type, data }, { tx }) => {
  switch (type) {
    ${each((n) => `case 'scale.happened-${n}': tx.run('insert into sums values (?)', data.of${n}); break`)}
  }
})`
}`,
  }
}
