/** What the adapter needs of node-postgres (https://node-postgres.com, `pg` 8.17 or later): the caller builds the pool, and keeps it. */

export interface PgPool {
  connect(): Promise<PgClient>
  /** The settings that its connections are made with; one more is made with them, to tick and to listen. */
  readonly options: object
  on(event: 'error', listener: (error: Error) => void): unknown
}

export interface PgClient {
  query(config: PgQuery): Promise<PgResult>
  release(destroy?: boolean): void
  on(event: 'error', listener: (error: Error) => void): unknown
  removeListener(event: 'error', listener: (error: Error) => void): unknown
}

/** A connection of its own, outside of the pool. */
export interface PgConnection {
  connect(): Promise<unknown>
  query(config: PgQuery): Promise<PgResult | readonly PgResult[]>
  end(): Promise<void>
  on(event: 'error' | 'end', listener: (error?: Error) => void): unknown
  on(event: 'notification', listener: (message: { readonly payload?: string | undefined }) => void): unknown
}

export interface PgQuery {
  readonly text: string
  readonly name?: string
  readonly values?: unknown[]
  readonly rowMode?: 'array'
  readonly queryMode?: 'extended'
  readonly types?: { getTypeParser(oid: number, format?: string): (value: string) => unknown }
  /** Milliseconds after which the query fails and its connection is of no use any more. */
  readonly query_timeout?: number
}

export interface PgResult {
  readonly command: string
  readonly rowCount: number | null
  readonly rows: unknown[]
}

type ConnectionClass = new (options: object) => PgConnection

/** A connection with the pool's settings; undefined when the pool does not tell of which class its connections are. */
export const connectionLike = (pool: PgPool, changed: object): PgConnection | undefined => {
  const { Client } = pool as { Client?: ConnectionClass }
  if (typeof Client !== 'function') return undefined
  // The pool hides what is secret from enumeration.
  const { password, ssl } = pool.options as { password?: unknown; ssl?: unknown }
  return new Client({ ...pool.options, password, ssl, ...changed })
}

/** Of the driver's, where it has them: statements sent before those in front were answered, and the socket that they go over. */
interface Pipelining {
  pipeline?: boolean
  readonly connection?: { readonly stream?: { cork?: () => void; uncork?: () => void } }
}

/** Lets the connection pipeline while a session has it; gives what sets it back, or undefined where the driver cannot. */
export const pipelining = (client: PgClient): (() => void) | undefined => {
  const own = client as Pipelining
  const before = own.pipeline
  if (typeof before !== 'boolean') return undefined
  own.pipeline = true
  return () => {
    own.pipeline = before
  }
}

/** What is sent until the code that runs has come to rest goes in one packet: each costs the kernels on both sides as much as a statement. */
export const together = (client: PgClient | PgConnection): void => {
  const stream = (client as Pipelining).connection?.stream
  if (stream?.cork === undefined) return
  stream.cork()
  process.nextTick(() => stream.uncork?.())
}
