/** The external delivery service as delivery sees it: a process of its own, started at the first call and again when it has died. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { giveUp } from 'pabal'
import type { AddressChange } from '../address-book.ts'

export interface AddressService extends AsyncDisposable {
  /** Resolves when the service has this address, or a newer one, on disk. */
  put(change: AddressChange, signal: AbortSignal): Promise<void>
  /** What the service has. */
  get(orderId: string): Promise<Pick<AddressChange, 'address' | 'sequence'> | undefined>
  /** Its process, while it runs. */
  readonly pid: number | undefined
}

export interface AddressServiceOptions {
  /** Where it keeps its addresses. */
  readonly file: string
  /** How slow each change is, in milliseconds. Default 0. */
  readonly latencyMs?: number
  /** Share of changes that it fails, from 0 to 1. Default 0. */
  readonly failRate?: number
}

const program = join(import.meta.dirname, '../delivery-service.ts')

export function createAddressService({ file, latencyMs = 0, failRate = 0 }: AddressServiceOptions): AddressService {
  let child: ChildProcess | undefined
  let starting: Promise<string> | undefined

  /** The URL of the running process. */
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

  const call = async (path: string, request: RequestInit): Promise<Response> => {
    starting ??= start()
    const url = await starting.catch((error: unknown) => {
      starting = undefined
      throw error
    })
    return fetch(url + path, request)
  }

  return {
    async put({ orderId, address, sequence, idempotencyKey }, signal) {
      const response = await call(`/orders/${encodeURIComponent(orderId)}/address`, {
        method: 'PUT',
        headers: { 'idempotency-key': idempotencyKey },
        body: JSON.stringify({ address, sequence }),
        signal,
      })
      const text = await response.text()
      if (response.ok) return
      const reason = `the delivery service answered ${response.status}: ${text}`
      throw response.status < 500 ? giveUp(reason) : new Error(reason)
    },
    async get(orderId) {
      const response = await call(`/orders/${encodeURIComponent(orderId)}`, {})
      if (response.status === 404) return undefined
      return (await response.json()) as AddressChange
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
