/** The worker processes of a shop: kept at their number, whatever ends them, until they are told to end. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { App } from 'pabal'
import type { Shop } from './app.ts'
import { settledElsewhere } from './settled.ts'
import { ShopStoreError } from './store-error.ts'
import type { WhereaboutsAnswer, WhereaboutsQuestion, WorkerOptions } from './worker.ts'

export interface WorkersOptions extends WorkerOptions {
  readonly count: number
  /** Whose delivery service they share. */
  readonly shop: Pick<Shop, 'deliveryProcess'>
  /** What shows how far they are. */
  readonly apps: readonly App[]
}

export interface Workers extends AsyncDisposable {
  /** Rejects when workers end by themselves as soon as they are started. */
  readonly failed: Promise<never>
  /** Resolves when they have handled everything. */
  settled(signal: AbortSignal): Promise<void>
}

const program = join(import.meta.dirname, 'worker.ts')
/** A worker that lived for so long was no failed start. */
const startMs = 5_000
const failuresMax = 5
const againMs = 200
const graceMs = 15_000

export function startWorkers({ count, shop, apps, ...options }: WorkersOptions): Workers {
  const children = new Map<number, ChildProcess>()
  const { promise: failed, reject } = Promise.withResolvers<never>()
  failed.catch(() => {})
  let isEnding = false
  let failures = 0

  const start = (number: number): void => {
    const startedAt = performance.now()
    // Its standard output is nobody's: the shop's is for the figures.
    const child = fork(program, [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    children.set(number, child)
    child.on('message', ({ ask }: WhereaboutsQuestion) => void answer(child, ask))
    // A pipe to a process that has just died says so; its end is told by 'exit'.
    child.on('error', () => {})
    child.send(options satisfies WorkerOptions)
    child.once(
      'exit',
      (_code, signal) => void replace(number, signal !== null || performance.now() - startedAt > startMs),
    )
  }

  /** `hasLived`: it was killed, or worked for a while. */
  const replace = async (number: number, hasLived: boolean): Promise<void> => {
    children.delete(number)
    if (isEnding) return
    failures = hasLived ? 0 : failures + 1
    if (failures >= failuresMax)
      return reject(new ShopStoreError('SHOP_WORKERS_FAILED', `${failures} workers ended as soon as they had begun.`))
    if (!hasLived) await delay(againMs)
    if (!isEnding) start(number)
  }

  const answer = async (child: ChildProcess, ask: number): Promise<void> => {
    const url = await shop.deliveryProcess.url().catch(() => undefined)
    const message: WhereaboutsAnswer = url === undefined ? { answer: ask } : { answer: ask, url }
    if (child.connected) child.send(message)
  }

  for (let number = 1; number <= count; number++) start(number)
  return {
    failed,
    settled: (signal) => Promise.race([settledElsewhere(apps, signal), failed]),
    async [Symbol.asyncDispose]() {
      isEnding = true
      await Promise.all([...children.values()].map(end))
    },
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  if (child.connected) child.disconnect()
  const impatience = setTimeout(() => child.kill('SIGKILL'), graceMs)
  await exited
  clearTimeout(impatience)
}
