/** What `pabal doctor` looks at on Postgres: the server, who stands in the way, and each log. Reads only, as any user. */

import type { Finding } from '../store.ts'
import type { PostgresSession } from './connection.ts'
import { logs } from './diagnose-log.ts'
import { connections, durability, poolers, server, slots } from './diagnose-server.ts'
import { prepared, transactions } from './diagnose-transactions.ts'
import { codeOf } from './errors.ts'
import type { Diagnosed, Look } from './look.ts'

const looks: Readonly<Record<string, Look>> = {
  'the server': server,
  durability,
  poolers,
  connections,
  'open transactions': transactions,
  'prepared transactions': prepared,
  'replication slots': slots,
  logs,
}

export const diagnose = async (session: PostgresSession, diagnosed: Diagnosed): Promise<readonly Finding[]> => {
  const found: Finding[] = []
  const hidden: string[] = []
  for (const [what, look] of Object.entries(looks))
    try {
      found.push(...(await look(session, diagnosed)))
    } catch (error) {
      // The server has answered that this user may not, or that it cannot; anything else is worse.
      if (!/^(?:42501|0A000|55000)$/.test(sqlStateOf(error) ?? '')) throw error
      hidden.push(what)
    }
  if (hidden.length > 0)
    found.push({
      level: 'warning',
      title: 'rights',
      detail: `this user may not look at ${hidden.join(', ')}`,
      remedy: 'run the doctor as a user that may, such as the owner of the schema',
    })
  return found
}

const sqlStateOf = (error: unknown): string | undefined =>
  codeOf((error as { cause?: unknown } | null)?.cause) ?? codeOf(error)
