/**
 * The connection that is the sequencer's alone: it ticks, and listens. It is opened when it is needed; one that does not answer is
 * given up, and the next question opens another.
 */

import type { Environment } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import { connectionLike, type PgConnection, type PgPool, type PgResult } from './driver.ts'
import { codeOf } from './errors.ts'

export interface LinkOptions {
  readonly pool: PgPool
  readonly environment: Environment
  readonly label: string
  /** The connection's `application_name`, by which other processes see that this one is there. */
  readonly owner: string
  /** False behind a pooler: nothing is heard then. */
  readonly notifications: boolean
  readonly count: () => void
}

export interface LinkEvents {
  /** Somebody has given positions to events in this schema. */
  readonly heard: (schema: string) => void
  readonly opened: () => void
  /** Whatever answers next may be another server. */
  readonly lost: (how: 'given up' | 'broken') => void
}

/** For a question to be answered, before its connection is given up. */
export const queryTimeoutMs = 5_000
/** How long a last tick may take, and then the connection to end in order. */
export const endMs = 1_000

export class Link {
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  #connection: Promise<PgConnection> | undefined
  /** The same when it can be used. */
  #live: PgConnection | undefined
  #closing = false

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options
    this.#events = events
  }

  get isUp(): boolean {
    return this.#live !== undefined
  }

  connected(): Promise<PgConnection> {
    if (this.#connection === undefined) {
      const opening = this.#open()
      this.#connection = opening
      opening.catch(() => {
        if (this.#connection === opening) this.#connection = undefined
      })
    }
    return this.#connection
  }

  async query(text: string, timeoutMs: number = queryTimeoutMs): Promise<readonly PgResult[]> {
    const connection = await this.connected()
    this.#options.count()
    try {
      const result = await connection.query({ text, query_timeout: timeoutMs })
      return Array.isArray(result) ? (result as readonly PgResult[]) : [result as PgResult]
    } catch (error) {
      if (!isAnswered(error)) this.giveUp(connection)
      throw error
    }
  }

  /** It is frozen or gone: what is left of it must not be waited for. */
  giveUp(connection: PgConnection): void {
    destroy(connection)
    void connection.end().catch(() => {})
    if (this.#forgets(connection)) this.#events.lost('given up')
  }

  #forgets(connection: PgConnection): boolean {
    if (this.#live !== connection) return false
    this.#live = undefined
    this.#connection = undefined
    return true
  }

  async close(): Promise<void> {
    this.#closing = true
    const connection = await this.#connection?.catch(() => undefined)
    if (connection === undefined) return
    await forAtMost(endMs, this.#options.environment, connection.end())
    destroy(connection)
  }

  async #open(): Promise<PgConnection> {
    const { pool, owner, notifications, label } = this.#options
    const connection = connectionLike(pool, {
      pipeline: true,
      application_name: owner,
      connectionTimeoutMillis: queryTimeoutMs,
      keepAlive: true,
    })
    if (connection === undefined)
      throw new PabalError('PABAL_COMPOSITION_INVALID', `${label}: the pool is not one of node-postgres`)
    const gone = () => {
      // One that was given up says so later, when the next one may be there.
      if (!this.#closing && this.#forgets(connection)) this.#events.lost('broken')
    }
    connection.on('error', gone)
    connection.on('end', gone)
    await connection.connect()
    if (notifications) {
      connection.on('notification', ({ payload }) => this.#events.heard(payload ?? ''))
      try {
        await connection.query({
          text: "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; LISTEN pabal",
          query_timeout: queryTimeoutMs,
        })
      } catch (error) {
        // A standby lets nobody listen: it is asked again, and would be full some day.
        void connection.end().catch(() => {})
        throw error
      }
    }
    this.#live = connection
    this.#events.opened()
    return connection
  }
}

/** The one number that was asked for. */
export const firstOf = (rows: readonly unknown[]): number => Number(Object.values(rows[0] as object)[0])

const destroy = (connection: PgConnection): void => {
  const { connection: inner } = connection as { connection?: { stream?: { destroy?: () => void } } }
  inner?.stream?.destroy?.()
}

/** The server has answered with an error; without one nobody knows. */
export const isAnswered = (error: unknown): boolean =>
  /^[0-9A-Z]{5}$/.test(codeOf(error) ?? '') && !['57P01', '57P02', '57P05'].includes(codeOf(error)!)

/** Waits for the end of some work, whatever comes of it, but no longer than that. */
export const forAtMost = async (ms: number, environment: Environment, work: Promise<unknown>): Promise<void> => {
  const ended = new AbortController()
  const ending = work.catch(() => {}).finally(() => ended.abort())
  await Promise.race([ending, environment.sleep(ms, ended.signal)])
}
