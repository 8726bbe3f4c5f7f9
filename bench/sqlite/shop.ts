/** The shop over its half-year file, as `npm start` runs it: speed against the raw append loop, and memory that does not grow. */

import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { type Cost, ratios, spreadOf, takeTurns } from '../measure.ts'
import type { Result } from '../report.ts'
import { Outbox, placed } from './outbox.ts'

const root = join(import.meta.dirname, '../..')
const halfYear = join(root, 'examples/shop/data/online-retail-2010-12_2011-05.csv.gz')
const main = 'examples/shop/main.ts'

/** What `npm start` gives to Node. */
const nodeOptions = (): string[] => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { start: string } }
  const [, options = ''] = new RegExp(`node (--.*) ${main}`).exec(scripts.start) ?? []
  return options.split(' ')
}

/** The same orders a second time, a year later and under other numbers. */
const twice = (csv: string): string => {
  const [header, ...rows] = csv.trimEnd().split('\n')
  const later = rows.map((row) =>
    row
      .replace(/^([CA]?)(\d+)/, (_, letter: string, number: string) => `${letter}${Number(number) + 200_000}`)
      .replace(/,(201[01])(?=-\d\d-\d\d \d\d:\d\d:\d\d,)/, (_, year: string) => `,${Number(year) + 1}`),
  )
  return [header, ...rows, ...later, ''].join('\n')
}

interface Run {
  readonly events: number
  readonly orders: number
  readonly peakMB: number
}

const runShop = (folder: string, file: string): Run => {
  const data = join(folder, 'shop')
  const peakFile = join(folder, 'peak')
  rmSync(data, { recursive: true, force: true })
  const preload = pathToFileURL(join(import.meta.dirname, 'peak-rss.ts')).href
  const args = [...nodeOptions(), '--import', preload, main, '--orders', file, '--once', '--json', '--data', data]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, PEAK_RSS_FILE: peakFile },
  })
  if (status !== 0) throw new Error(`the shop ended with ${status}: ${stderr}`)
  const figures = JSON.parse(stdout) as Run
  return { ...figures, peakMB: (Number(readFileSync(peakFile, 'utf8')) * 1_024) / 1_000_000 }
}

export const shop = async (folder: string, rounds: number): Promise<Result[]> => {
  const outbox = new Outbox(join(folder, 'shop-raw.db'))
  const long = join(folder, 'twice.csv')
  writeFileSync(long, twice(gunzipSync(readFileSync(halfYear)).toString()))
  const once: Run[] = []
  const doubled: Run[] = []
  const run = (file: string, runs: Run[]) => () => {
    const result = runShop(folder, file)
    runs.push(result)
    return result.events
  }
  let next = 0
  const costs = await takeTurns(
    {
      once: { run: run(halfYear, once) },
      raw: {
        run: () => {
          for (let i = 0; i < 5_000; i++) outbox.place(placed(next++))
          return 5_000
        },
      },
      doubled: { run: run(long, doubled) },
    },
    Math.max(1, Math.round(rounds / 5)),
  )
  outbox.db.close()
  if (doubled.some(({ orders }) => orders !== once[0]!.orders * 2)) throw new Error('the longer file gave other orders')
  const rate = (of: readonly Cost[]) => (1_000_000 / spreadOf(of.map(({ wallUs }) => wallUs)).median).toFixed(0)
  const memory = (runs: readonly Run[]) => spreadOf(runs.map(({ peakMB }) => peakMB))
  return [
    {
      what: 'shop: half a year, process start and end included',
      measured: ratios(costs.raw, costs.once, 'wallUs'),
      unit: 'events/s of raw append loop',
      note: `${once[0]!.events} events, ${rate(costs.once)} per second against ${rate(costs.raw)}`,
    },
    { what: 'shop: peak memory', goal: { atMost: 400 }, measured: memory(once), unit: 'MB', note: '' },
    {
      what: 'shop: peak memory on a file twice as long',
      goal: { atMost: 1.1 },
      measured: spreadOf(doubled.map(({ peakMB }, i) => peakMB / once[i]!.peakMB)),
      unit: 'times the peak on the file',
      note: `${memory(doubled).median.toFixed(0)} MB; ${rate(costs.doubled)} events per second`,
    },
  ]
}
