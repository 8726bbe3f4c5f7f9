/** What a subscriber has refused: a stream of copies, each behind the id of its entry and the reason. */

import type { OpenTransport, Refused } from '../transport.ts'
import type { Connection } from './connection.ts'
import { bodyOf, type Fields, incoming } from './entry.ts'
import type { SubscriberNames } from './names.ts'

export const judgeRefused = async (
  connection: Connection,
  { refused }: SubscriberNames,
  limit: number,
  judge: Parameters<NonNullable<OpenTransport['refused']>>[3],
): Promise<void> => {
  const entries = (await connection.command('XRANGE', [refused, '-', '+', 'COUNT', limit])) as readonly (readonly [
    Buffer,
    Fields,
  ])[]
  for (const [id, fields] of entries)
    if (await judge(refusedOf(id.toString(), fields))) await connection.command('XDEL', [refused, id])
}

/** As `settle` writes them: `id`, its value, `reason`, its value, and what came. */
const refusedOf = (id: string, fields: Fields): Refused => {
  const [, , , reason, ...original] = fields
  return { id, reason: reason?.toString(), incoming: incoming(original), body: bodyOf(original) }
}
