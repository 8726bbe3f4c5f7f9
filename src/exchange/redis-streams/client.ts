/** What the adapter needs of a client of Redis (`ioredis` 5 or later, `iovalkey`): the caller builds it, the adapter has connections of its own. */

import { PabalError } from '../../core/errors.ts'

/** One connection. It is made anew when it is lost, so the client's own ways to reconnect, to queue and to repeat stay off. */
export interface RedisClient {
  connect(): Promise<unknown>
  disconnect(): void
  callBuffer(command: string, args: (string | Buffer | number)[]): Promise<unknown>
  multi(commands: unknown[][]): { exec(): Promise<unknown> }
  on(event: 'error' | 'end', listener: (error?: Error) => void): unknown
  readonly options?: object
}

/** What a connection of the adapter needs, whatever else it is made with. */
export interface RedisSettings {
  readonly lazyConnect: true
  /** A command on a lost connection fails at once, and who sent it decides. */
  readonly enableOfflineQueue: false
  readonly autoResendUnfulfilledCommands: false
  readonly enableAutoPipelining: false
  readonly retryStrategy: () => null
  /** The adapter has its own, which knows what blocks. */
  readonly commandTimeout: undefined
}

const settings: RedisSettings = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  enableAutoPipelining: false,
  retryStrategy: () => null,
  commandTimeout: undefined,
}

/**
 * A client that is duplicated (`new Redis(url)`: it stays the caller's, and is not used otherwise), or a function that makes one:
 * `(settings) => new Redis(url, settings)`.
 */
export type RedisSource<Client = RedisClient> =
  | { duplicate(override: RedisSettings): Client }
  | ((settings: RedisSettings) => Client)

/** Makes one connection, not connected yet. @throws PABAL_COMPOSITION_INVALID */
export const connector = <Client>(source: RedisSource<Client>): (() => Client) => {
  if (typeof source === 'function') return () => source(settings)
  if (typeof (source as Partial<typeof source> | undefined)?.duplicate !== 'function')
    throw new PabalError(
      'PABAL_COMPOSITION_INVALID',
      'a Redis transport takes `client`: a client of ioredis or iovalkey, or a function that makes one',
    )
  return () => source.duplicate(settings)
}

/** Where a client connects to, without a password. */
export const labelOf = ({ options }: Pick<RedisClient, 'options'>): string => {
  const { host, port, path } = (options ?? {}) as { host?: unknown; port?: unknown; path?: unknown }
  if (typeof path === 'string') return path
  return typeof host === 'string' ? `redis://${host}${typeof port === 'number' ? `:${port}` : ''}` : 'Redis'
}
