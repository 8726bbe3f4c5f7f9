/**
 * A process that handles: `node worker.ts <options as JSON>`. It says what it does in lines, fails on some keys now and then, and
 * stops at the key that it is to be held at until it is told to go on.
 */

import { createInterface } from 'node:readline'
import { Pool, type PoolConfig } from 'pg'
import { withoutFence } from '../mutants.ts'
import { seeded } from './seeded.ts'
import { type Conduct, type Consumer, openShop } from './shop.ts'

export interface WorkerOptions {
  readonly by: string
  readonly ordering: PoolConfig
  readonly shipping: PoolConfig
  readonly calls: string
  readonly leaseMs: number
  readonly queryTimeoutMs?: number
  readonly seed?: number
  /** How often a handler fails, and a key on which handlers with effects in the database always do. */
  readonly failing?: number
  readonly poison?: string
  /** A call takes up to so long. */
  readonly callMs?: number
  /** `ledger` takes so long for each event. */
  readonly ledgerMs?: number
  readonly counted?: boolean
  readonly lanes?: number
  readonly older?: boolean
  /** Where to stop, once. */
  readonly holdAt?: { readonly point: 'begin' | 'written'; readonly consumer: Consumer; readonly key: string }
  readonly fence?: false
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)
// Whatever ends this process from within is a fault of its own: broken connections must not.
process.on('uncaughtException', (error, origin) => {
  say(`crashed by ${origin}: ${String(error.stack).replaceAll('\n', ' | ')}`)
  process.exit(70)
})

const options = JSON.parse(process.argv[2]!) as WorkerOptions
const { by, calls, leaseMs, failing = 0, callMs = 0, ledgerMs = 0, holdAt, counted = false } = options
const random = seeded(options.seed ?? 1)
const told = new Map<string, () => void>()
let held = false

const at: Conduct['at'] = async (point, consumer, { key }) => {
  if (!held && holdAt?.point === point && holdAt.consumer === consumer && holdAt.key === key) {
    held = true
    const goOn = new Promise<void>((resolve) => told.set('go on', resolve))
    say(`held ${consumer}`)
    await goOn
  }
  if (point === 'written') return
  const takesMs = consumer === 'pay' ? random() * callMs : consumer === 'ledger' ? ledgerMs : 0
  if (takesMs > 0) await new Promise((resolve) => setTimeout(resolve, takesMs))
  if (random() < failing) throw new Error('now and then')
  if (key === options.poison && consumer !== 'pay') throw new Error('always')
}

const app = openShop({
  by,
  calls,
  counted,
  ordering: new Pool(options.ordering),
  shipping: new Pool(options.shipping),
  at,
  ...(options.lanes === undefined ? {} : { lanes: options.lanes }),
  ...(options.older === undefined ? {} : { older: options.older }),
  ...(options.queryTimeoutMs === undefined ? {} : { queryTimeoutMs: options.queryTimeoutMs }),
  ...(options.fence === false ? { store: withoutFence } : {}),
  app: {
    leaseMs,
    onWarning: (what, error) => say(`warning ${what}: ${error instanceof Error ? error.message : String(error)}`),
  },
})

createInterface({ input: process.stdin }).on('line', (line) => {
  told.get(line)?.()
  if (line === 'stop')
    void app.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        say(`crashed ${String(error)}`)
        process.exit(70)
      },
    )
})

/** The server may be away just now. */
const start = async (): Promise<void> => {
  try {
    await app.start()
  } catch (error) {
    say(`not started: ${String(error)}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
    await start()
  }
}
await start()
for (const { owner } of (await app['~pabal'].open()).databases) say(`owner ${owner}`)
say('started')
