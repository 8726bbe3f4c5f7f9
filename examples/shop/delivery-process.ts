/** The external delivery service as a process of this shop: started at the first call, and again when it has died. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Somewhere there is a delivery service. */
export interface DeliveryService {
  /** Starts it if need be. */
  url(): Promise<string>
}

export interface DeliveryProcess extends DeliveryService, AsyncDisposable {
  /** While it runs. */
  readonly pid: number | undefined
}

export interface DeliveryProcessOptions {
  /** Where it keeps its addresses. */
  readonly file: string
  /** How slow each change is, in milliseconds. Default 0. */
  readonly latencyMs?: number
  /** Share of changes that it fails, from 0 to 1. Default 0. */
  readonly failRate?: number
}

const program = join(import.meta.dirname, 'delivery-service.ts')

export function createDeliveryProcess({ file, latencyMs = 0, failRate = 0 }: DeliveryProcessOptions): DeliveryProcess {
  let child: ChildProcess | undefined
  let starting: Promise<string> | undefined

  const start = async (): Promise<string> => {
    const options = ['--data', file, '--latency-ms', `${latencyMs}`, '--fail-rate', `${failRate}`]
    // Its standard input ends with this process, however that dies: it is never left behind.
    const started = spawn(process.execPath, [program, '--until-stdin-ends', ...options], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    child = started
    started.once('exit', () => {
      if (child === started) child = starting = undefined
    })
    for await (const line of createInterface(started.stdout)) {
      // From here on it does not keep this process alive.
      started.unref()
      for (const pipe of [started.stdin, started.stdout]) (pipe as unknown as Socket).unref()
      return `http://127.0.0.1:${(JSON.parse(line) as { listening: number }).listening}`
    }
    throw new Error('the delivery service ended before it listened')
  }

  return {
    url() {
      starting ??= start().catch((error: unknown) => {
        starting = undefined
        throw error
      })
      return starting
    },
    get pid() {
      return child?.pid
    },
    async [Symbol.asyncDispose]() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.ref()
      child.stdin?.end()
      const impatience = setTimeout(() => child?.kill('SIGKILL'), 2_000)
      await exited
      clearTimeout(impatience)
    },
  }
}
