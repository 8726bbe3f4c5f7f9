/** Partitions of a log, as a process that beats looks after them: some ahead of what is written, none behind what retention has hidden. */

import { codeOf, ownError } from './errors.ts'
import { firstOf, isAnswered, type Link, queryTimeoutMs } from './link.ts'
import type { SchemaName } from './migrate.ts'
import { dropPartitions } from './retention.ts'

/** Readers and appenders are not kept waiting for longer than this; the next time tries again. */
const partitionLockMs = 200

export interface PartitionOptions {
  readonly link: Link
  readonly label: string
  readonly warn: (what: string, error: unknown) => void
}

export const lookAfterPartitions = async (options: PartitionOptions, schemas: readonly SchemaName[]): Promise<void> => {
  const { link, label, warn } = options
  if (schemas.length === 0) return
  const begin = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = ${partitionLockMs}`
  const text = schemas
    .map(
      ({ sql }) =>
        `${begin}; SELECT ${sql}.create_partitions(); COMMIT; ${begin}; ${dropPartitions(sql, partitionLockMs)}; COMMIT`,
    )
    .join('; ')
  try {
    const results = await link.query(text, queryTimeoutMs + schemas.length * 4 * partitionLockMs)
    const counts = results.filter(({ command }) => command === 'SELECT').map(({ rows }) => firstOf(rows))
    // One at a time: what it locks is free in between.
    if (schemas.some((_, index) => counts[2 * index + 1]! > 0)) await lookAfterPartitions(options, schemas)
  } catch (error) {
    if (!isAnswered(error)) throw error
    await link.query('ROLLBACK')
    if (schemas.length > 1) for (const schema of schemas) await lookAfterPartitions(options, [schema])
    // In use for the moment, or not for this user: there are some ahead still.
    else if (!['55P03', '42501', '40P01'].includes(codeOf(error) ?? ''))
      warn(`partitions of ${schemas[0]!.name}`, ownError(error, label))
  }
}
