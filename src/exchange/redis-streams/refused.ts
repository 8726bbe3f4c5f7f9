/** What a subscriber has refused: a stream of copies, each behind the id of its entry and the reason. */

import type { OpenTransport, Refused } from '../transport.ts'
import type { Connection } from './connection.ts'
import { bodyOf, type Fields, incoming } from './entry.ts'
import type { SubscriberNames } from './names.ts'

/** As `settle` writes them: `id`, its value, `reason`, its value. */
const ownFields = 4

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

const refusedOf = (id: string, fields: Fields): Refused => {
  const original = fields.slice(ownFields)
  return { id, reason: fields[3]?.toString(), incoming: incoming(original), body: bodyOf(original) }
}
