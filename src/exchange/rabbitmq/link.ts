/** A connection to the broker that is made when it is needed, and made again after it was lost. */

import type { PabalError } from '../../core/errors.ts'
import type { TransportOptions } from '../transport.ts'
import { abandon, type RabbitConnection } from './driver.ts'
import { unreachable } from './fault.ts'

export interface LinkParts extends TransportOptions {
  readonly connect: () => Promise<RabbitConnection>
  /** Such as 'publishing'. */
  readonly purpose: string
  /** For each answer of the broker. Beyond, the connection is given up: it may be one that nobody hears on. */
  readonly timeoutMs: number
}

export class Link implements AsyncDisposable {
  readonly #parts: LinkParts
  #current: Promise<Connected> | undefined
  #closed = false

  constructor(parts: LinkParts) {
    this.#parts = parts
  }

  /** @throws PABAL_TRANSPORT_UNREACHABLE */
  connected(): Promise<Connected> {
    if (this.#closed) return Promise.reject(unreachable('connecting', new Error('the app has been stopped')))
    if (this.#current === undefined) {
      const connecting = this.#connect()
      this.#current = connecting
      const forget = (): void => {
        if (this.#current === connecting) this.#current = undefined
      }
      connecting.then(({ lost }) => onAbort(lost, forget), forget)
    }
    return this.#current
  }

  async #connect(): Promise<Connected> {
    const { connect, environment, timeoutMs, purpose, warn } = this.#parts
    const what = `connecting for ${purpose}`
    // What throws at once is a fault like any other.
    const connecting = Promise.resolve().then(connect)
    try {
      const connection = await within(connecting, { environment, timeoutMs, late: () => silence(timeoutMs) })
      return new Connected(connection, this.#parts, (error) => {
        if (!this.#closed) warn(`RabbitMQ: the connection for ${purpose} was lost, and is made again`, error)
      })
    } catch (error) {
      // One that comes too late is nobody's.
      connecting.then(
        (late) => abandon(late, silence(timeoutMs)),
        () => undefined,
      )
      throw unreachable(what, error)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await (await this.#current?.catch(() => undefined))?.close()
  }
}

/** A connection while it lasts. */
export class Connected {
  readonly connection: RabbitConnection
  readonly #parts: LinkParts
  readonly #lost = new AbortController()
  /** Why the broker takes nothing at the moment; undefined when it does. */
  #blocked: string | undefined
  #failure: unknown

  constructor(connection: RabbitConnection, parts: LinkParts, onLost: (error: unknown) => void) {
    this.connection = connection
    this.#parts = parts
    connection.on('error', (error) => (this.#failure = error))
    connection.on('close', (error) => {
      this.#failure ??= error
      this.#lost.abort()
      onLost(this.#failure)
    })
    connection.on('blocked', (reason) => {
      this.#blocked = reason
      parts.warn('RabbitMQ: the broker takes no messages at the moment', new Error(reason))
    })
    connection.on('unblocked', () => (this.#blocked = undefined))
  }

  get lost(): AbortSignal {
    return this.#lost.signal
  }

  get blocked(): string | undefined {
    return this.#blocked
  }

  /** What the broker answers. Without an answer in time the connection is given up. @throws PABAL_TRANSPORT_UNREACHABLE */
  async answered<T>(what: string, answer: Promise<T>): Promise<T> {
    const { environment, timeoutMs } = this.#parts
    // Not everything that is asked of the client fails with the connection.
    const late = (): Error => (this.lost.aborted ? unreachable(what, this.#failure) : this.giveUp(what))
    return await within(answer, { environment, timeoutMs, until: this.lost, late })
  }

  /** For one on which nothing is heard any more. What waits on it fails. */
  giveUp(what: string): PabalError {
    const error = silence(this.#parts.timeoutMs)
    this.#failure = error
    this.#lost.abort()
    abandon(this.connection, error)
    return unreachable(what, error)
  }

  async close(): Promise<void> {
    if (this.lost.aborted) return
    try {
      await this.answered('closing', this.connection.close())
    } catch {
      // It was given up, or has ended in between: either way it is closed.
    }
  }
}

const silence = (ms: number): Error => new Error(`no answer within ${ms} ms`)

/** Now, if it has been aborted. */
export const onAbort = (signal: AbortSignal, act: () => void): void => {
  if (signal.aborted) act()
  else signal.addEventListener('abort', act, { once: true })
}

const within = async <T>(
  promise: Promise<T>,
  options: Pick<LinkParts, 'environment' | 'timeoutMs'> & { readonly until?: AbortSignal; readonly late: () => Error },
): Promise<T> => {
  const { environment, timeoutMs, until, late } = options
  const done = new AbortController()
  const tooLate = async (): Promise<never> => {
    await environment.sleep(timeoutMs, until === undefined ? done.signal : AbortSignal.any([done.signal, until]))
    throw done.signal.aborted ? new Error('in time') : late()
  }
  try {
    return await Promise.race([promise, tooLate()])
  } finally {
    done.abort()
  }
}
