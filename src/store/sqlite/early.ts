/** Events that came before their time, on SQLite: they wait here, so that nothing waits on a broker (P9). */

import type { Early, EarlyEvent, InboxStream } from '../store.ts'
import { on } from './connection.ts'

export const createEarly = (p: string): Early => {
  const stream = 'consumer = ? AND source = ? AND stream = ?'
  const of = ({ consumer, source, stream: name }: InboxStream) => [consumer, source, name] as const
  return {
    ofKeys: (session, id, keys) =>
      on(session)
        .prepare(
          `SELECT key, sequence, event_id AS eventId, reason, text, since_ms AS sinceMs FROM ${p}early
           WHERE ${stream} AND key IN (SELECT value FROM json_each(?)) ORDER BY key, sequence`,
        )
        .all(...of(id), JSON.stringify(keys)) as unknown as EarlyEvent[],

    put: (session, id, events) => {
      const statement = on(session).prepare(
        `INSERT INTO ${p}early (consumer, source, stream, key, sequence, event_id, reason, text, since_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING`,
      )
      for (const { key, sequence, eventId, reason, text, sinceMs } of events)
        statement.run(...of(id), key, sequence, eventId, reason, text, sinceMs)
    },

    remove: (session, id, events) => {
      const statement = on(session).prepare(
        `DELETE FROM ${p}early WHERE ${stream} AND key = ? AND sequence = ? AND event_id = ?`,
      )
      for (const { key, sequence, eventId } of events) statement.run(...of(id), key, sequence, eventId)
    },

    count: (session, id) =>
      on(session)
        .prepare(
          `SELECT reason, count(*) AS events, count(DISTINCT key) AS keys FROM ${p}early WHERE ${stream} GROUP BY reason ORDER BY reason`,
        )
        .all(...of(id)) as unknown as { reason: string; events: number; keys: number }[],
  }
}
