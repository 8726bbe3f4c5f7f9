/** What stands in the schemas of a database: sizes and migrations. Reads only. */

import type { Description } from '../store.ts'
import { type PostgresSession, statement } from './connection.ts'
import { migrationStates, type SchemaName } from './migrate.ts'

const bytes = statement(
  `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = $1 AND c.relkind IN ('r', 'm')`,
)

export const describe = async (
  session: PostgresSession,
  schemas: readonly (readonly [context: string, schema: SchemaName])[],
): Promise<Description> => {
  let total = 0
  const migrations: Description['migrations'][number][] = []
  for (const [context, schema] of schemas) {
    total += Number((await session.row(bytes, [schema.name]))![0])
    migrations.push(...(await migrationStates(session, context, schema)))
  }
  return { bytes: total, pendingBytes: 0, migrations }
}
