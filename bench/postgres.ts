/**
 * `npm run bench:postgres`: pabal on Postgres beside the same by hand and other libraries, as ratios within one run.
 * `--json` prints JSON, `--only append,drain` runs some parts, `--arms pabal,pgBoss` compares some arms, `--rounds N` takes so
 * many turns, `--quick` runs everything in a short form, `--write` puts the tables into `bench/README.md`.
 */

import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { install } from './competitors.ts'
import { append } from './postgres/append.ts'
import { isArmName } from './postgres/arms.ts'
import { backlog } from './postgres/backlog.ts'
import { drain } from './postgres/drain.ts'
import { idle } from './postgres/idle.ts'
import { latency } from './postgres/latency.ts'
import type { Part } from './postgres/part.ts'
import { Server } from './postgres/server.ts'
import { snapshot } from './postgres/snapshot.ts'
import { json, markdown, type Table, writeReadme } from './postgres/tables.ts'

const parts: Readonly<Record<string, Part>> = { append, drain, latency, idle, backlog, snapshot }

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    only: { type: 'string' },
    arms: { type: 'string' },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
})
const wanted = values.only?.split(',') ?? Object.keys(parts)
const only = values.arms?.split(',')
const unknown = [...wanted.filter((name) => !(name in parts)), ...(only ?? []).filter((name) => !isArmName(name))]
if (unknown.length > 0) throw new Error(`there is no ${unknown.join(' and no ')} here`)

install()
const tables: Table[] = []
let about: string
{
  await using server = await Server.start()
  about = `Node ${process.versions.node}, ${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}); Postgres: ${await server.about()}.`
  for (const name of wanted)
    tables.push(
      ...(await parts[name]!({
        server,
        only,
        quick: values.quick,
        rounds: Number(values.rounds ?? (values.quick ? 2 : 9)),
        progress: (what) => process.stderr.write(`${what} …\n`),
      })),
    )
}
const text = [about, ...tables.map(markdown)].join('\n\n')
console.log(values.json ? json(tables) : text)
if (values.write) writeReadme('bench:postgres', text)
