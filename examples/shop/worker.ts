/**
 * A worker of the shop: a process that runs the durable handlers beside others that do, until the shop that started it tells
 * it to end, or is gone. `workers.ts` starts it and is the only one that speaks with it.
 */

import type { PoolConfig } from 'pg'
import { createShop } from './app.ts'
import { back, exchangeOver } from './brokers.ts'
import { files } from './databases.ts'
import type { DeliveryService } from './delivery-process.ts'
import { schemas } from './schemas.ts'
import { tell, warn } from './shop-error.ts'

/** What a worker is told when it begins. Not as arguments, which everybody on the machine can read. */
export interface WorkerOptions {
  readonly data: string
  /** Undefined: files in that folder. */
  readonly connection?: PoolConfig | undefined
  readonly failKey?: string | undefined
  /** It runs the other half of the contexts: over these, and nobody else does. Default: all, beside other workers. */
  readonly brokers?: readonly string[] | undefined
}

/** The worker asks with a number and is answered with the same. */
export interface WhereaboutsQuestion {
  readonly ask: number
}
export interface WhereaboutsAnswer {
  readonly answer: number
  readonly url?: string
}

/** Few enough that eight workers fit into the hundred of a server as it comes. */
const connectionsMax = 6

/** The delivery service of the shop that started this process. */
function deliveryServiceOfShop(): DeliveryService {
  const waiting = new Map<number, (url: string | undefined) => void>()
  let asked = 0
  process.on('message', (message: Partial<WhereaboutsAnswer>) => {
    if (message.answer !== undefined) waiting.get(message.answer)?.(message.url)
  })
  return {
    async url() {
      const ask = ++asked
      const { promise, resolve } = Promise.withResolvers<string | undefined>()
      waiting.set(ask, resolve)
      process.send?.({ ask } satisfies WhereaboutsQuestion)
      const url = await promise
      waiting.delete(ask)
      if (url === undefined) throw new Error('the delivery service could not be started')
      return url
    },
  }
}

async function work({ data, connection, failKey, brokers }: WorkerOptions, ended: Promise<unknown>): Promise<void> {
  await using shop = createShop({
    data,
    failKey,
    // The shop that started this process has made the tables.
    databases:
      connection === undefined
        ? files(data)
        : schemas({ connection: { ...connection, max: connectionsMax }, creates: false }),
    ...(brokers === undefined ? {} : { contexts: back, exchange: await exchangeOver(brokers, data) }),
    deliveryService: deliveryServiceOfShop(),
    onWarning: warn,
  })
  await shop.app.start()
  await ended
}

/** Ctrl+C reaches every process of the terminal; the shop says when its workers are to end. */
process.on('SIGINT', () => {})
const ended = new Promise<void>((resolve) => process.once('disconnect', resolve).once('SIGTERM', resolve))
process.once('message', (options: WorkerOptions) => {
  work(options, ended)
    .catch((error: unknown) => {
      const { text, exitCode } = tell(error)
      process.stderr.write(`${text}\n`)
      process.exitCode = exitCode
    })
    .finally(() => {
      if (process.connected) process.disconnect()
    })
})
