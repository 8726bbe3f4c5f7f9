/**
 * A connection that is made when it is needed and again after it was lost, and on which every command has an end: with the answer,
 * or with an error after so long. What was not answered is never sent again here; whoever asked decides.
 */

import { backoffMs, type Environment } from '../../core/environment.ts'
import { labelOf, type RedisClient } from './client.ts'
import { explained, isUnreachable, unreachable } from './failure.ts'

/** Between two attempts to connect: doubles, until it is the most. Meanwhile commands fail at once. */
const retryFirstMs = 50
const retryMaxMs = 2_000

export interface ConnectionParts {
  readonly make: () => RedisClient
  readonly environment: Environment
  /** For an answer, and for a connection. */
  readonly timeoutMs: number
  readonly warn: (what: string, error: unknown) => void
}

/** What became of one command of a transaction. */
export type Reply = { readonly error: Error } | { readonly value: unknown }

export interface Replies {
  readonly replies: readonly Reply[]
  /** Replicas that have them. */
  readonly confirmed: number
}

export class Connection {
  readonly #parts: ConnectionParts
  #current: Promise<RedisClient> | undefined
  #label = 'Redis'
  readonly #closing = new AbortController()
  #failures = 0
  #retryAt = 0
  #failure: Error | undefined
  #told = false

  constructor(parts: ConnectionParts) {
    this.#parts = parts
  }

  /** @throws PABAL_TRANSPORT_UNREACHABLE, PABAL_TRANSPORT_INVALID */
  command(name: string, args: (string | Buffer | number)[], blocksMs = 0): Promise<unknown> {
    return this.#on((client) => client.callBuffer(name, args), blocksMs)
  }

  /**
   * All of them or none, with nothing between. Where replicas are wanted, they are waited for on the same connection: on another
   * one there would be nothing to wait for. @throws as `command`, when nothing is known of any; the signal's reason when it aborts
   * before the answer: what was sent may be done all the same
   */
  async transaction(
    commands: unknown[][],
    { replicas, ms }: { readonly replicas: number; readonly ms: number },
    signal: AbortSignal,
  ): Promise<Replies> {
    const asked = this.#on(
      async (client) => {
        const replies = await client.multi(commands).exec()
        return { replies, confirmed: replicas === 0 ? 0 : Number(await client.callBuffer('WAIT', [replicas, ms])) }
      },
      replicas === 0 ? 0 : ms,
    )
    const done = await unlessAborted(asked, signal)
    if (!Array.isArray(done.replies)) throw unreachable(`${this.#label}: the transaction was given up`)
    return { replies: done.replies.map((reply) => this.#reply(reply)), confirmed: done.confirmed }
  }

  #reply(reply: unknown): Reply {
    const [error, value] = reply as [unknown, unknown]
    return error === null || error === undefined ? { value } : { error: explained(error, this.#label) }
  }

  /** Ends it for good; what waits for an answer fails at once. */
  close(): void {
    this.#closing.abort()
    const current = this.#current
    this.#current = undefined
    current?.then((client) => client.disconnect()).catch(() => {})
  }

  async #on<T>(ask: (client: RedisClient) => Promise<T>, blocksMs: number): Promise<T> {
    const current = this.#connected()
    const client = await current
    const ms = blocksMs + this.#parts.timeoutMs
    try {
      return await this.#within(ask(client), ms)
    } catch (error) {
      const failure = explained(error === overdue ? new Error(`no answer within ${ms} ms`) : error, this.#label)
      // Also a server that has become a replica: who connects anew is led to the primary.
      if (isUnreachable(failure)) this.#lose(current, client)
      throw failure
    }
  }

  #connected(): Promise<RedisClient> {
    if (this.#closing.signal.aborted) throw unreachable('the transport is closed')
    if (this.#current !== undefined) return this.#current
    if (this.#failure !== undefined && this.#parts.environment.now() < this.#retryAt) throw this.#failure
    const current = this.#connect()
    this.#current = current
    current.then(
      () => {
        this.#failures = 0
        this.#failure = undefined
        this.#told = false
      },
      (error: unknown) => {
        const { environment } = this.#parts
        if (this.#current === current) this.#current = undefined
        this.#failure = error as Error
        this.#retryAt = environment.now() + backoffMs(++this.#failures, retryFirstMs, retryMaxMs, environment.random)
        this.#tell(this.#failure)
      },
    )
    return current
  }

  async #connect(): Promise<RedisClient> {
    const { make, timeoutMs } = this.#parts
    const client = make()
    this.#label = labelOf(client)
    // What `connect` rejects with says less than the event before it.
    let reason: unknown
    client.on('error', (error) => (reason ??= error))
    client.on('end', () => void this.#end(client))
    try {
      await this.#within(client.connect(), timeoutMs)
    } catch (error) {
      client.disconnect()
      throw explained(
        error === overdue ? new Error(`no connection within ${timeoutMs} ms`) : (reason ?? error),
        this.#label,
      )
    }
    if (this.#closing.signal.aborted) {
      client.disconnect()
      throw unreachable('the transport is closed')
    }
    return client
  }

  async #end(client: RedisClient): Promise<void> {
    const current = this.#current
    if (current !== undefined && (await current.catch(() => undefined)) === client) this.#lose(current, client)
  }

  #lose(current: Promise<RedisClient>, client: RedisClient): void {
    client.disconnect()
    if (this.#current !== current) return
    this.#current = undefined
    this.#tell(unreachable(`${this.#label}: the connection was lost`))
  }

  /** Once for each time that it is gone. */
  #tell(error: Error): void {
    if (this.#told || this.#closing.signal.aborted) return
    this.#told = true
    this.#parts.warn('a connection to Redis', error)
  }

  async #within<T>(asked: Promise<T>, ms: number): Promise<T> {
    const answered = new AbortController()
    const late = async (): Promise<never> => {
      await this.#parts.environment.sleep(ms, AbortSignal.any([answered.signal, this.#closing.signal]))
      throw overdue
    }
    try {
      return await Promise.race([asked, late()])
    } finally {
      answered.abort()
    }
  }
}

const overdue = new Error('too late')

const unlessAborted = async <T>(asked: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(signal.reason as Error)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([asked, promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
