/**
 * The connection, made anew when it has ended. While the client itself connects again, what was received stays its holder's; a
 * connection that is mute is left, since the client would notice that after minutes.
 */

import type { Environment } from '../../core/environment.ts'
import type { TransportOptions } from '../transport.ts'
import type { JetStream, JetStreamManager, NatsClient, NatsConnection } from './driver.ts'
import { asPabalError, unreachable } from './errors.ts'

/** A round trip that takes longer is taken for none. */
const probeMs = 2_000
/** What stopping waits for a server that does not answer. */
const partingMs = 1_000

export class Link {
  readonly #client: NatsClient
  readonly #options: TransportOptions
  #current: Promise<Connected> | undefined
  #closed = false

  constructor(client: NatsClient, options: TransportOptions) {
    this.#client = client
    this.#options = options
  }

  /** A connection that is up; one attempt, which callers share. @throws PABAL_TRANSPORT_UNREACHABLE */
  async live(): Promise<Connected> {
    if (this.#closed) throw unreachable('the transport has been closed')
    this.#current ??= this.#connect()
    const connected = await this.#current
    if (!connected.up) throw unreachable('the connection was lost, and is being made again')
    return connected
  }

  #connect(): Promise<Connected> {
    const connecting = this.#open()
    const forget = (): void => {
      if (this.#current === connecting) this.#current = undefined
    }
    connecting.then((connected) => connected.ended.then(forget), forget)
    return connecting
  }

  async #open(): Promise<Connected> {
    let connection: NatsConnection
    try {
      connection = await this.#client.connect()
    } catch (error) {
      throw asPabalError(error, 'connecting')
    }
    const jetstream = this.#client.jetstream(connection)
    // Without the look at the account that it could begin with: that is a right which nothing else needs.
    const manager = await jetstream.jetstreamManager(false)
    return new Connected({ connection, jetstream, manager, ...this.#options })
  }

  async close(): Promise<void> {
    this.#closed = true
    const connected = await this.#current?.catch(() => undefined)
    await connected?.close()
  }
}

interface ConnectedParts extends TransportOptions {
  readonly connection: NatsConnection
  readonly jetstream: JetStream
  readonly manager: JetStreamManager
}

export class Connected {
  readonly jetstream: JetStream
  readonly manager: JetStreamManager
  /** Resolves when it will not come back. */
  readonly ended: Promise<void>
  readonly #parts: ConnectedParts
  #loss = new AbortController()
  #waiting: (() => void)[] = []
  #end: () => void = () => {}
  #over = false

  constructor(parts: ConnectedParts) {
    this.#parts = parts
    this.jetstream = parts.jetstream
    this.manager = parts.manager
    this.ended = new Promise((resolve) => (this.#end = resolve))
    void this.#watch()
    void parts.connection.closed().then(() => this.#leave())
  }

  get up(): boolean {
    return !this.#loss.signal.aborted
  }

  /** The most that the server takes as one message. */
  get maxPayload(): number | undefined {
    return this.#parts.connection.info?.max_payload
  }

  /** Aborts when the connection is lost that is there now. */
  get lost(): AbortSignal {
    return this.#loss.signal
  }

  /** Resolves when it is up again, or will never be. */
  async back(): Promise<void> {
    if (!this.up && !this.#over) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** Makes sure that the server still answers; if not, this connection is left. */
  async probe(): Promise<void> {
    if (!this.up) return
    const { connection, environment, warn } = this.#parts
    const answered = await within(
      connection.flush().then(() => true),
      probeMs,
      environment,
    ).catch(() => false)
    if (answered === true || !this.up) return
    warn('a connection to NATS that does not answer, and is left', unreachable(`no answer within ${probeMs} ms`))
    this.#leave()
    connection.close().catch(() => {})
  }

  /** The server has seen all that was sent before, or is not heard. */
  async settled(): Promise<void> {
    const { connection, environment } = this.#parts
    if (this.up) await within(connection.flush(), partingMs, environment).catch(() => {})
  }

  async close(): Promise<void> {
    await this.settled()
    const { connection, environment } = this.#parts
    const closing = connection.close()
    this.#leave()
    await within(closing, partingMs, environment).catch(() => {})
  }

  async #watch(): Promise<void> {
    const { connection, warn } = this.#parts
    for await (const { type, error } of connection.status())
      if (this.#over) return
      else if (type === 'disconnect') {
        this.#loss.abort(unreachable('the connection was lost'))
        warn('the connection to NATS was lost', this.#loss.signal.reason)
      } else if (type === 'reconnect') {
        this.#loss = new AbortController()
        this.#wake()
      } else if (type === 'error' && error !== undefined) warn('NATS', asPabalError(error, 'the server says'))
  }

  #leave(): void {
    this.#over = true
    this.#loss.abort(unreachable('the connection has ended'))
    this.#wake()
    this.#end()
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
}

/** Undefined after that time. */
export const within = async <T>(
  promise: Promise<T>,
  ms: number,
  environment: Environment,
  signal?: AbortSignal,
): Promise<T | undefined> => {
  const done = new AbortController()
  const over = signal === undefined ? done.signal : AbortSignal.any([done.signal, signal])
  try {
    return await Promise.race([promise, environment.sleep(ms, over).then(() => undefined)])
  } finally {
    done.abort()
  }
}

/** Rejects with the signal's reason as soon as that aborts. */
export const unlessAborted = async <T>(promise: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(signal.reason as Error)
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
