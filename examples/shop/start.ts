/** `npm start`: imports orders, lets everything happen that follows from them, shows what became of it, and stays open. */

import { once } from 'node:events'
import { join } from 'node:path'
import type { App } from 'pabal'
import { openShopAt, type Shop, type ShopOptions } from './app.ts'
import { openBrokers } from './brokers.ts'
import { nameOf, openHalves, otherHalves, recallHalves, rememberHalves } from './halves.ts'
import { collectFigures, findExamples } from './figures.ts'
import { type OrderFile, openOrderFile } from './import-orders.ts'
import { ordering } from './ordering/context.ts'
import { createProgress, type Progress } from './progress.ts'
import { ShopInputError } from './retail/input-error.ts'
import { exitCodes, tell, warn } from './shop-error.ts'
import { ShopStoreError } from './store-error.ts'
import { summaryOf } from './summary.ts'
import { startWorkers, type Workers } from './workers.ts'

export interface StartOptions
  extends Omit<ShopOptions, 'databases' | 'deliveryService' | 'onWarning' | 'contexts' | 'exchange'> {
  /** As `openDatabases` has it. */
  readonly store?: string | undefined
  /** A retail file, whole. Default: the first trading week of the bundled one. */
  readonly orders?: string | undefined
  /** Brokers between this process and another one that runs half of the contexts, as `openBrokers` has it. */
  readonly brokers?: string | undefined
  /** Processes that run the handlers, which this one then does not. */
  readonly workers?: number | undefined
  /** Exit when everything is settled. */
  readonly once: boolean
  /** One JSON line in place of the summary. */
  readonly json: boolean
}

const halfYearFile = join(import.meta.dirname, 'data/online-retail-2010-12_2011-05.csv.gz')
const firstWeek = ['2010-12-01', '2010-12-07'] as const

/** Resolves with the exit code. A signal ends it in order: what has begun is finished, and everything that was taken in is kept. */
export async function start(options: StartOptions): Promise<number> {
  const startedAt = performance.now()
  const { signal, exitCode: interruptedCode } = untilSignal()
  try {
    const progress = progressOf(options)
    const file = await openOrders(options, progress, signal)
    await using shop = await openShopAt({ ...options, onWarning: warn })
    await using handlers = await (options.brokers === undefined
      ? startHandlers(shop, options)
      : startHalves(shop, options, options.brokers))
    const failure = await file.receive(handlers.app ?? shop.app).then(
      () => undefined,
      (error: unknown) => {
        // What was complete before it has been received, and is worth going on with.
        if (error instanceof ShopInputError) return error
        throw error
      },
    )
    await orAborted(handlers.settled(signal), signal)
    progress.end()

    const figures = await collectFigures(shop)
    const seconds = Number(((performance.now() - startedAt) / 1_000).toFixed(3))
    const { once: isOnce, json, data } = options
    process.stdout.write(
      json
        ? `${JSON.stringify({ ...figures, seconds })}\n`
        : summaryOf(figures, {
            seconds,
            data,
            notKept: shop.databases.notKept,
            over: options.brokers === undefined ? undefined : nameOf((await recallHalves(data)) ?? []),
            isRunning: !isOnce,
            examples: await findExamples(shop),
          }),
    )
    if (failure !== undefined) process.stderr.write(`${tell(failure).text}\n`)
    if (!isOnce && !signal.aborted) await Promise.race([once(signal, 'abort'), handlers.failed])
    if (!isOnce && !json) process.stdout.write('  Closed.\n')
    return failure === undefined ? exitCodes.ok : exitCodes.failed
  } catch (error) {
    if (!signal.aborted) throw error
    return options.once ? interruptedCode() : exitCodes.ok
  }
}

/** Handlers that run. */
interface Handlers extends Pick<Workers, 'settled' | 'failed' | typeof Symbol.asyncDispose> {
  /** The app that takes orders, where it is not the shop's. */
  readonly app?: App
}

/** Here, or in processes of their own. */
async function startHandlers(shop: Shop, { workers: count, data, failKey }: StartOptions): Promise<Handlers> {
  const halves = await recallHalves(data)
  if (halves !== undefined) throw otherHalves(data, halves)
  if (count === undefined) {
    await shop.app.start()
    return {
      settled: () => shop.app.settle(),
      failed: new Promise(() => {}),
      // They end with the shop.
      async [Symbol.asyncDispose]() {},
    }
  }
  const { connection } = shop.databases
  if (connection === undefined)
    throw new ShopStoreError('SHOP_STORE_WORKERS', 'The shop is on SQLite, where one process does the work.')
  // Opens, so that the tables are there before the first worker looks for them.
  await shop.app.context(ordering).read(() => undefined)
  return startWorkers({ count, data, connection, failKey, shop, apps: [shop.app] })
}

/** Half of the contexts here, the others in a process of their own, and brokers between them. The shop itself only looks. */
async function startHalves(shop: Shop, options: StartOptions, given: string): Promise<Handlers> {
  const { data, failKey, workers } = options
  if (workers !== undefined)
    throw new ShopStoreError('SHOP_EXCHANGE_WORKERS', 'Two processes share the contexts already.')
  const started = new AsyncDisposableStack()
  try {
    const { urls } = started.use(await openBrokers(given))
    await rememberHalves(data, urls)
    const halves = started.use(await openHalves(options, urls))
    const { connection } = shop.databases
    const worker = started.use(
      startWorkers({ count: 1, data, connection, failKey, brokers: urls, shop, apps: [halves.front, halves.back] }),
    )
    await halves.front.start()
    return {
      app: halves.front,
      settled: (signal) => worker.settled(signal),
      failed: worker.failed,
      [Symbol.asyncDispose]: () => started.disposeAsync(),
    }
  } catch (error) {
    await started.disposeAsync()
    throw error
  }
}

const progressOf = ({ orders }: StartOptions): Progress =>
  orders === undefined ? createProgress('the first trading week', firstWeek) : createProgress(orders)

async function openOrders({ orders }: StartOptions, progress: Progress, signal: AbortSignal): Promise<OrderFile> {
  try {
    return await openOrderFile(orders ?? halfYearFile, {
      lastDay: orders === undefined ? firstWeek[1] : undefined,
      signal,
      onProgress: (state) => progress.show(state),
    })
  } catch (error) {
    progress.end()
    throw error
  }
}

/** Aborts at the first signal. Later ones change nothing: npm and the terminal may both send one. */
function untilSignal(): { readonly signal: AbortSignal; readonly exitCode: () => number } {
  const interrupted = new AbortController()
  let exitCode = 0
  for (const [name, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ] as const)
    process.on(name, () => {
      exitCode ||= 128 + number
      interrupted.abort()
    })
  return { signal: interrupted.signal, exitCode: () => exitCode }
}

async function orAborted<R>(promise: Promise<R>, signal: AbortSignal): Promise<R> {
  const aborted = once(signal, 'abort').then(() => signal.throwIfAborted())
  signal.throwIfAborted()
  return (await Promise.race([promise, aborted])) as R
}
