/** A column that numbers rows as they come: the one thing that the shop's databases spell differently. */

import { type ColumnDefinitionBuilder, type Kysely, PostgresAdapter } from 'kysely'

type Column = readonly [
  type: 'bigserial' | 'integer',
  build: (column: ColumnDefinitionBuilder) => ColumnDefinitionBuilder,
]

/** Type and definition for `addColumn`; the primary key. */
export const growingId = <Tables>(tx: Kysely<Tables>): Column =>
  tx.getExecutor().adapter instanceof PostgresAdapter
    ? ['bigserial', (column) => column.primaryKey()]
    : ['integer', (column) => column.primaryKey().autoIncrement()]
