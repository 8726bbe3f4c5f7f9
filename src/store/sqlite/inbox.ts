/** The inbox on SQLite: one row per consumer, source, stream and key, never one per message (P9). */

import type { Inbox, InboxHead } from '../store.ts'
import { on } from './connection.ts'

export const createInbox = (p: string): Inbox => ({
  heads: (session, { consumer, source, stream }, keys) => {
    const rows = on(session)
      .prepare(
        `SELECT key, sequence, event_id AS eventId, incarnation FROM ${p}inbox
         WHERE consumer = ? AND source = ? AND stream = ? AND key IN (SELECT value FROM json_each(?))`,
      )
      .all(consumer, source, stream, JSON.stringify(keys)) as unknown as (InboxHead & { key: string })[]
    return new Map(rows.map((row) => [row.key, row]))
  },

  advance: (session, { consumer, source, stream }, heads) => {
    const statement = on(session).prepare(
      `INSERT INTO ${p}inbox (consumer, source, stream, key, sequence, event_id, incarnation) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET sequence = excluded.sequence, event_id = excluded.event_id, incarnation = excluded.incarnation`,
    )
    for (const [key, head] of heads)
      statement.run(consumer, source, stream, key, head.sequence, head.eventId, head.incarnation)
  },

  copy: (session, from, to) =>
    void on(session)
      .prepare(
        `INSERT INTO ${p}inbox (consumer, source, stream, key, sequence, event_id, incarnation)
         SELECT ?, ?, ?, key, sequence, event_id, incarnation FROM ${p}inbox WHERE consumer = ? AND source = ? AND stream = ?`,
      )
      .run(to.consumer, to.source, to.stream, from.consumer, from.source, from.stream),

  distrust: (session, consumer, source) =>
    void on(session)
      .prepare(`UPDATE ${p}inbox SET incarnation = '' WHERE consumer = ? AND source = ?`)
      .run(consumer, source),

  forget: (session, consumer, source) =>
    void on(session).prepare(`DELETE FROM ${p}inbox WHERE consumer = ? AND source = ?`).run(consumer, source),
})
