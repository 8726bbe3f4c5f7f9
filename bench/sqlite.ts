/**
 * `npm run bench:sqlite`: pabal on SQLite against the same by hand, as ratios within one run.
 * `--json` prints JSON, `--only append,drain` runs some parts, `--rounds N` takes so many turns, `--dir DIR` puts the files there.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { json, type Result, table } from './report.ts'
import { append } from './sqlite/append.ts'
import { dispatch } from './sqlite/dispatch.ts'
import { drain } from './sqlite/drain.ts'
import { shop } from './sqlite/shop.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string', default: '15' },
    dir: { type: 'string', default: tmpdir() },
  },
})

type Part = (folder: string, rounds: number) => Promise<Result[]>
const parts: Readonly<Record<string, Part>> = { append, drain, dispatch, shop }

const results: Result[] = []
for (const [name, part] of Object.entries(parts)) {
  if (values.only !== undefined && !values.only.split(',').includes(name)) continue
  const folder = mkdtempSync(join(values.dir, 'pabal-bench-'))
  try {
    process.stderr.write(`${name} …\n`)
    results.push(...(await part(folder, Number(values.rounds))))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
console.log(values.json ? json(results) : table(results))
