/** Events that came before their time, on Postgres: they wait here, so that nothing waits on a broker (P9). */

import type { Early, InboxStream } from '../store.ts'
import { plainArray, textArray } from './arrays.ts'
import { on, statement, writing } from './connection.ts'

export const createEarly = (s: string): Early => {
  const stream = 'consumer = $1 AND source = $2 AND stream = $3'
  const of = ({ consumer, source, stream: name }: InboxStream): [string, string, string] => [consumer, source, name]
  const ofKeys = statement(
    `SELECT key, sequence, event_id, reason, text, since_ms FROM ${s}.early WHERE ${stream} AND key = ANY ($4::text::text[]) ORDER BY key, sequence`,
  )
  const put = statement(
    `INSERT INTO ${s}.early (consumer, source, stream, key, sequence, event_id, reason, text, since_ms)
     SELECT $1, $2, $3, e.* FROM unnest($4::text::text[], $5::text::bigint[], $6::text::text[], $7::text::text[], $8::text::text[], $9::text::bigint[])
       AS e (key, sequence, event_id, reason, text, since_ms)
     ON CONFLICT DO NOTHING`,
  )
  const remove = statement(
    `DELETE FROM ${s}.early e USING unnest($4::text::text[], $5::text::bigint[], $6::text::text[]) AS g (key, sequence, event_id)
     WHERE e.consumer = $1 AND e.source = $2 AND e.stream = $3 AND e.key = g.key AND e.sequence = g.sequence AND e.event_id = g.event_id`,
  )
  const count = statement(
    `SELECT reason, count(*), count(DISTINCT key) FROM ${s}.early WHERE ${stream} GROUP BY reason ORDER BY reason`,
  )
  return {
    ofKeys: async (session, id, keys) =>
      (await on(session).rows(ofKeys, [...of(id), textArray(keys)])).map(
        ([key, sequence, eventId, reason, text, sinceMs]) => ({
          key: String(key),
          sequence: Number(sequence),
          eventId: String(eventId),
          reason: String(reason),
          text: String(text),
          sinceMs: Number(sinceMs),
        }),
      ),

    put: async (session, id, events) => {
      await writing(session).run(put, [
        ...of(id),
        textArray(events.map(({ key }) => key)),
        plainArray(events.map(({ sequence }) => sequence)),
        textArray(events.map(({ eventId }) => eventId)),
        textArray(events.map(({ reason }) => reason)),
        textArray(events.map(({ text }) => text)),
        plainArray(events.map(({ sinceMs }) => sinceMs)),
      ])
    },

    remove: async (session, id, events) => {
      await writing(session).run(remove, [
        ...of(id),
        textArray(events.map(({ key }) => key)),
        plainArray(events.map(({ sequence }) => sequence)),
        textArray(events.map(({ eventId }) => eventId)),
      ])
    },

    count: async (session, id) =>
      (await on(session).rows(count, of(id))).map(([reason, events, keys]) => ({
        reason: String(reason),
        events: Number(events),
        keys: Number(keys),
      })),
  }
}
