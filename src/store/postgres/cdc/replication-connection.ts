/**
 * A connection in replication mode: statements first, then the stream of a slot until the end. Over the caller's own `pg`, as
 * one of its custom queries (https://www.postgresql.org/docs/current/protocol-replication.html).
 */

import type { Environment } from '../../../core/environment.ts'
import { PabalError } from '../../../core/errors.ts'
import { connectionLike, type PgPool, type PgQuery, type PgResult } from '../driver.ts'
import { codeOf } from '../errors.ts'
import { lsnText } from './lsn.ts'
import { epochMs, type Message, Pgoutput } from './pgoutput.ts'

/** So often the server is told how far this side is, and asked for a sign of life. Its own patience is 60 s by default. */
const statusEveryMs = 5_000
/** Without a sign of life for so long the connection is given up. */
const silenceMs = 20_000
/** Messages in hand from which on the server is not listened to until they are taken. */
const receivedMax = 1_000
const statementTimeoutMs = 10_000

/** What the server has sent: everything that was committed before `through` is told. */
export interface Received {
  readonly message: Message | undefined
  /** Set between transactions only. */
  readonly through: bigint | undefined
  /** The server waits for this place to be acknowledged: it shuts down. */
  readonly isAsked: boolean
}

/** The connection below a client of `pg`, and its hooks for custom queries. */
interface Wire {
  readonly stream: { pause(): unknown; resume(): unknown; destroy(): unknown }
  query(text: string): void
  sendCopyFromChunk(chunk: Buffer): void
}

interface CustomQuery {
  submit(wire: Wire): void
  handleCopyData(data: { readonly chunk: Buffer }): void
  handleCommandComplete(): void
  handleReadyForQuery(): void
  handleError(error: Error): void
}

interface Client {
  readonly connection: Wire
  connect(): Promise<unknown>
  query(query: PgQuery): Promise<PgResult | readonly PgResult[]>
  query(query: CustomQuery): unknown
  end(): Promise<void>
  on(
    event: 'error' | 'notice',
    listener: (event: { readonly severity?: string; readonly message?: string }) => void,
  ): unknown
  getTypeParser(oid: number, format: 'text'): (text: string) => unknown
}

export const unavailable = (detail: string, cause?: unknown): PabalError =>
  new PabalError('PABAL_REPLICATION_UNAVAILABLE', detail, cause === undefined ? {} : { cause })

const asText = { getTypeParser: () => (value: string) => value }

export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`
export const identifier = (name: string): string => `"${name.replaceAll('"', '""')}"`

export class ReplicationConnection {
  readonly #client: Client
  readonly #environment: Environment
  readonly #closed = new AbortController()
  #received: Received[] = []
  #failure: { readonly error: unknown } | undefined
  #streams = false
  #wake = (): void => {}
  #paused = false
  #heardMs = 0
  #receivedLsn = 0n
  #acknowledged = 0n

  private constructor(client: Client, environment: Environment) {
    this.#client = client
    this.#environment = environment
  }

  /** With the settings of the pool, beside it. @throws PABAL_REPLICATION_UNAVAILABLE, and what `pg` throws */
  static async open(pool: PgPool, environment: Environment, name: string): Promise<ReplicationConnection> {
    const client = connectionLike(pool, {
      replication: 'database',
      application_name: name,
      pipeline: false,
      query_timeout: 0,
      connectionTimeoutMillis: statementTimeoutMs,
      keepAlive: true,
    }) as Client | undefined
    if (client === undefined)
      throw new PabalError('PABAL_COMPOSITION_INVALID', `${name}: the pool is not one of node-postgres`)
    const connection = new ReplicationConnection(client, environment)
    client.on('error', (error) => connection.#fail(error))
    // A stream that warns leaves something out, such as what belongs to a publication that is gone.
    client.on('notice', ({ severity, message }) => {
      if (severity === 'WARNING' && connection.#streams) connection.#fail(new Error(message))
    })
    try {
      await client.connect()
      // As the server's own subscribers: texts that parsers of any locale read alike.
      await connection.rows('SET datestyle = ISO; SET intervalstyle = postgres; SET extra_float_digits = 3')
    } catch (error) {
      await connection.close()
      throw ['42501', '53300'].includes(codeOf(error) ?? '') ? unavailable((error as Error).message, error) : error
    }
    return connection
  }

  /** Runs a statement, or a command of the replication protocol, and gives the last one's rows as texts. */
  async rows(text: string, timeoutMs: number = statementTimeoutMs): Promise<readonly Record<string, string | null>[]> {
    const result = await this.#client.query({ text, types: asText, query_timeout: timeoutMs })
    return ((Array.isArray(result) ? result.at(-1) : result) as PgResult).rows as Record<string, string | null>[]
  }

  /** As the caller's pool reads that type. */
  parserOf(typeOid: number): (text: string) => unknown {
    return this.#client.getTypeParser(typeOid, 'text')
  }

  /** The changes of a slot from a place on, without end: it throws when the connection is lost or closed. */
  async *changes(slot: string, publications: readonly string[], from: bigint): AsyncGenerator<Received> {
    const names = publications.map(identifier).join()
    this.#start(
      `START_REPLICATION SLOT ${identifier(slot)} LOGICAL ${lsnText(from)} (proto_version '1', publication_names ${literal(names)})`,
    )
    for (;;) {
      const received = this.#received
      this.#received = []
      for (const each of received) yield each
      if (this.#failure !== undefined) throw this.#failure.error
      if (this.#received.length > 0) continue
      this.#resume()
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  /** Everything before that place is done with: the server may forget it. */
  acknowledge(lsn: bigint): void {
    if (lsn <= this.#acknowledged) return
    this.#acknowledged = lsn
    this.#sendStatus(false)
  }

  async close(): Promise<void> {
    this.#closed.abort()
    this.#fail(new Error('the replication connection was closed'))
    await this.#client.end().catch(() => {})
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    this.#wake()
  }

  #start(command: string): void {
    const decoder = new Pgoutput()
    let inTransaction = false
    this.#streams = true
    this.#client.query({
      submit: (wire) => wire.query(command),
      handleCopyData: ({ chunk }) => {
        this.#heardMs = this.#environment.now()
        try {
          const kind = chunk[0]
          // A position and two more numbers stand before a message; behind it the bytes are reused, so it is read at once.
          if (kind === 0x77) {
            const message = decoder.decode(chunk.subarray(25))
            if (message === undefined) return
            inTransaction = message.kind !== 'commit'
            this.#take({ message, through: message.kind === 'commit' ? message.lsn : undefined, isAsked: false })
          } else if (kind === 0x6b) {
            const isAsked = chunk[17] === 1
            if (!inTransaction) this.#take({ message: undefined, through: chunk.readBigInt64BE(1), isAsked })
            if (isAsked) this.#sendStatus(false)
          }
        } catch (error) {
          this.#fail(error)
        }
      },
      handleCommandComplete: () => {},
      handleReadyForQuery: () => this.#fail(new Error('the server has ended the stream')),
      handleError: (error) => this.#fail(error),
    })
    void this.#stayInTouch()
  }

  #take(received: Received): void {
    // What follows on a failure may lack what failed.
    if (this.#failure !== undefined) return
    if (received.through !== undefined && received.through > this.#receivedLsn) this.#receivedLsn = received.through
    this.#received.push(received)
    if (this.#received.length >= receivedMax && !this.#paused) {
      this.#paused = true
      this.#client.connection.stream.pause()
    }
    this.#wake()
  }

  #resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#heardMs = this.#environment.now()
    this.#client.connection.stream.resume()
  }

  async #stayInTouch(): Promise<void> {
    const { signal } = this.#closed
    this.#heardMs = this.#environment.now()
    for (;;) {
      await this.#environment.sleep(statusEveryMs, signal)
      if (signal.aborted || this.#failure !== undefined) return
      if (!this.#paused && this.#environment.now() - this.#heardMs > silenceMs) {
        this.#fail(new Error(`the server has been silent for ${silenceMs} ms`))
        this.#client.connection.stream.destroy()
        return
      }
      this.#sendStatus(true)
    }
  }

  /** Exactly what was acknowledged: one byte more, and a commit that begins there would never be sent again. */
  #sendStatus(wantsAnswer: boolean): void {
    const status = Buffer.alloc(34)
    status.write('r', 'latin1')
    status.writeBigInt64BE(this.#receivedLsn, 1)
    status.writeBigInt64BE(this.#acknowledged, 9)
    status.writeBigInt64BE(this.#acknowledged, 17)
    status.writeBigInt64BE(BigInt(this.#environment.now() - epochMs) * 1_000n, 25)
    status.writeUInt8(wantsAnswer ? 1 : 0, 33)
    this.#client.connection.sendCopyFromChunk(status)
  }
}
