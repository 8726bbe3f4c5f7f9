/**
 * `npm run bench:exchange`: pabal over brokers, beside the broker's client alone, the same by hand and other libraries, as ratios
 * within one run. `--brokers kafka,nats` and `--only relay,consume` run some of it, `--arms relayPabal` compares some arms,
 * `--rounds N` takes so many turns, `--quick` runs everything in a short form, `--json` prints JSON, `--write` puts the tables
 * into `bench/README.md`.
 */

import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { install } from './competitors.ts'
import { brokerUrl, isExchangeArm } from './exchange/arms.ts'
import { brokers, isBrokerName } from './exchange/brokers.ts'
import { partsOver } from './exchange/parts.ts'
import { Server } from './postgres/server.ts'
import { json, markdown, type Table, writeReadme } from './postgres/tables.ts'

const parts = ['relay', 'consume', 'latency'] as const

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    brokers: { type: 'string' },
    only: { type: 'string' },
    arms: { type: 'string' },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
})
const over = values.brokers?.split(',') ?? Object.keys(brokers)
const wanted = values.only?.split(',') ?? parts
const only = values.arms?.split(',')
const unknown = [
  ...over.filter((name) => !isBrokerName(name)),
  ...wanted.filter((name) => !parts.some((part) => part === name)),
  ...(only ?? []).filter((name) => !isExchangeArm(name)),
]
if (unknown.length > 0) throw new Error(`there is no ${unknown.join(' and no ')} here`)

install()
const tables: Table[] = []
const missing: string[] = []
let about: string
{
  await using server = await Server.start()
  about = `Node ${process.versions.node}, ${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}); Postgres: ${await server.about()}.`
  for (const name of over.filter(isBrokerName)) {
    const reason = brokers[name].missing()
    if (reason !== undefined) {
      missing.push(`${brokers[name].title} is left out: ${reason}.`)
      continue
    }
    await using broker = await brokers[name].start()
    process.env[brokerUrl] = broker.url
    for (const part of parts.filter((each) => wanted.includes(each)))
      tables.push(
        ...(await partsOver(name)[part]({
          server,
          only,
          quick: values.quick,
          rounds: Number(values.rounds ?? (values.quick ? 2 : 9)),
          progress: (what) => process.stderr.write(`${what} …\n`),
        })),
      )
  }
}
const text = [about, ...missing, ...tables.map(markdown)].join('\n\n')
console.log(values.json ? json(tables) : text)
if (values.write) writeReadme('bench:exchange', text)
