/** What `pabal doctor` looks at on Postgres. Reads only. */

import type { Finding } from '../store.ts'
import type { PostgresSession } from './connection.ts'
import type { PostgresOptions } from './database.ts'
import type { SchemaName } from './migrate.ts'

export const diagnose = async (
  _session: PostgresSession,
  _label: string,
  _schemas: readonly (readonly [context: string, schema: SchemaName])[],
  _options: PostgresOptions,
): Promise<readonly Finding[]> => []
