/** Whether a pooler stands between this process and the server, and for how long it lends a connection of the server. */

import { connectionLike, type PgClient, type PgConnection, type PgPool, type PgResult } from './driver.ts'

/**
 * `session`: a connection of the server stays with its client. `transaction`: each transaction may get another one, so that
 * nothing is kept on it: no prepared statement, no LISTEN.
 */
export type Pooler = 'none' | 'session' | 'transaction'

const askTimeoutMs = 5_000
const backend = { text: 'SELECT pg_backend_pid() AS pid', query_timeout: askTimeoutMs }

/** A pooler answers in the server's place: the process that greets is not the one that works. */
export const poolerOf = async (pool: PgPool): Promise<Pooler> => {
  const client = await pool.connect()
  client.on('error', ignore)
  let lost = true
  try {
    const pid = await pidOf(client)
    const { processID } = client as { processID?: number | null }
    const found =
      processID === undefined || processID === null || processID === pid ? 'none' : await lent(pool, client, pid)
    lost = false
    return found
  } finally {
    client.removeListener('error', ignore)
    client.release(lost)
  }
}

const ignore = (): void => {}

/** Between the statements of one client another one takes the same connection, or leaves the first with another one. */
const lent = async (pool: PgPool, client: PgClient, pid: number): Promise<Pooler> => {
  const other = connectionLike(pool, { pipeline: false, connectionTimeoutMillis: askTimeoutMs })
  if (other === undefined) return 'session'
  other.on('error', ignore)
  try {
    await other.connect()
    await other.query({ text: 'BEGIN', query_timeout: askTimeoutMs })
    if ((await pidOf(other)) === pid) return 'transaction'
    return (await pidOf(client)) === pid ? 'session' : 'transaction'
  } finally {
    await other.end().catch(() => {})
  }
}

const pidOf = async (connection: PgClient | PgConnection): Promise<number> => {
  const { rows } = (await connection.query(backend)) as PgResult
  return Number((rows[0] as { pid: unknown }).pid)
}
