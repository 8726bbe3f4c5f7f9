/**
 * The shop's own Postgres, from npm: started by the first process that needs it, shared by those that come, stopped by the
 * last that leaves. One that was left behind by kill -9 is adopted, or stopped and started anew if it does not answer.
 */

import { setTimeout as delay } from 'node:timers/promises'
import { Client, DatabaseError } from 'pg'
import { type Cluster, openCluster, type Programs, serverUser } from './postgres-cluster.ts'
import { serverAccount } from './server-account.ts'
import { ShopStoreError } from './store-error.ts'

export interface EmbeddedPostgres extends AsyncDisposable {
  readonly connection: {
    readonly host: string
    readonly port: number
    readonly user: string
    readonly password: string
    readonly database: string
  }
}

/** Each guest holds it shared on a connection of its own, so it goes with the process; who gets it alone is the last one. */
const guestLock = 7_012_010
const database = 'postgres'
const hopelessMs = 120_000
/** A server that is there and says nothing for so long is stopped. */
const answerMs = 10_000
const lookAgainMs = 50

/** @throws ShopStoreError SHOP_POSTGRES_FAILED */
export async function joinEmbeddedPostgres(folder: string, programs: Programs): Promise<EmbeddedPostgres> {
  const cluster = await openCluster(folder, programs, serverAccount())
  const hopelessAt = performance.now() + hopelessMs
  for (let patientUntil = performance.now() + answerMs; ; await delay(lookAgainMs)) {
    const server = await cluster.running()
    if (server === undefined) {
      await cluster.start()
      patientUntil = performance.now() + answerMs
      continue
    }
    const connection = {
      host: '127.0.0.1',
      port: server.port,
      user: serverUser,
      password: cluster.password,
      database,
    }
    const guest = await enter(connection)
    if (guest instanceof Client) return { connection, [Symbol.asyncDispose]: () => leave(cluster, guest) }
    if (performance.now() > hopelessAt)
      throw new ShopStoreError('SHOP_POSTGRES_FAILED', `The server in ${folder} does not let anybody in.`)
    if (guest === 'wait') patientUntil = performance.now() + answerMs
    else if (performance.now() > patientUntil) await cluster.stop('immediate')
  }
}

/** 'wait': it starts, recovers or ends, and says so. 'silence': nobody is there, or does not answer. */
async function enter(connection: EmbeddedPostgres['connection']): Promise<Client | 'wait' | 'silence'> {
  const guest = new Client({ ...connection, connectionTimeoutMillis: answerMs, query_timeout: answerMs })
  // The server may go before its guest.
  guest.on('error', () => {})
  try {
    await guest.connect()
    await guest.query('SELECT pg_advisory_lock_shared($1)', [guestLock])
    return guest
  } catch (error) {
    await guest.end().catch(() => {})
    if (!(error instanceof DatabaseError)) return 'silence'
    // Class 57 is operator intervention, 57P03 the server that is not ready.
    if (error.code?.startsWith('57') === true) return 'wait'
    throw new ShopStoreError('SHOP_POSTGRES_FAILED', `The server refuses: ${error.message}.`, error)
  }
}

async function leave(cluster: Cluster, guest: Client): Promise<void> {
  try {
    await guest.query('SELECT pg_advisory_unlock_shared($1)', [guestLock])
    const { rows } = await guest.query<{ alone: boolean }>('SELECT pg_try_advisory_lock($1) AS alone', [guestLock])
    if (rows[0]?.alone === true) await cluster.stop('fast')
  } catch {
    // It has gone already.
  } finally {
    await guest.end().catch(() => {})
  }
}
