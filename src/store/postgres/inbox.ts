/** The inbox on Postgres: one row per consumer, source, stream and key, never one per message (P9). */

import type { Inbox } from '../store.ts'
import { plainArray, textArray } from './arrays.ts'
import { on, type PostgresSession, type Row, statement, writing } from './connection.ts'

export const createInbox = (s: string): Inbox => {
  const heads = statement(
    `SELECT key, sequence, event_id, incarnation FROM ${s}.inbox
     WHERE consumer = $1 AND source = $2 AND stream = $3 AND key = ANY ($4::text::text[])`,
  )
  // In the order of the keys, as everything locks them.
  const lock = statement(
    `SELECT key, sequence, event_id, incarnation FROM ${s}.inbox
     WHERE consumer = $1 AND source = $2 AND stream = $3 AND key = ANY ($4::text::text[]) ORDER BY key COLLATE "C" FOR UPDATE`,
  )
  // One that is not there cannot be locked: it is made, and says nothing.
  const make = statement(
    `INSERT INTO ${s}.inbox (consumer, source, stream, key, sequence, event_id, incarnation)
     SELECT $1, $2, $3, k, 0, '', '' FROM unnest($4::text::text[]) k ORDER BY k COLLATE "C" ON CONFLICT DO NOTHING`,
  )
  // Those that were locked are there: to update them costs half of what ON CONFLICT does.
  const advance = statement(
    `WITH given AS MATERIALIZED (
       SELECT * FROM unnest($4::text::text[], $5::text::bigint[], $6::text::text[], $7::text::text[]) AS g (key, sequence, event_id, incarnation)
       ORDER BY g.key COLLATE "C"
     ), moved AS (
       UPDATE ${s}.inbox i SET sequence = g.sequence, event_id = g.event_id, incarnation = g.incarnation FROM given g
       WHERE i.consumer = $1 AND i.source = $2 AND i.stream = $3 AND i.key = g.key RETURNING i.key
     )
     INSERT INTO ${s}.inbox (consumer, source, stream, key, sequence, event_id, incarnation)
     SELECT $1, $2, $3, g.* FROM given g WHERE NOT EXISTS (SELECT FROM moved m WHERE m.key = g.key)
     ON CONFLICT (consumer, source, stream, key) DO UPDATE
     SET sequence = excluded.sequence, event_id = excluded.event_id, incarnation = excluded.incarnation`,
  )
  const copy = statement(
    `INSERT INTO ${s}.inbox (consumer, source, stream, key, sequence, event_id, incarnation)
     SELECT $1, $2, $3, key, sequence, event_id, incarnation FROM ${s}.inbox
     WHERE consumer = $4 AND source = $5 AND stream = $6 AND event_id <> ''`,
  )
  const locked = async (
    own: PostgresSession,
    stream: readonly string[],
    keys: readonly string[],
  ): Promise<readonly Row[]> => {
    const found = await own.rows(lock, [...stream, textArray(keys)])
    if (found.length === keys.length) return found
    const known = new Set(found.map(([key]) => key))
    const missing = textArray(keys.filter((key) => !known.has(key)))
    await own.defer(make, [...stream, missing], () => {})
    return [...found, ...(await own.rows(lock, [...stream, missing]))]
  }
  return {
    heads: async (session, { consumer, source, stream }, keys, options) => {
      const of = [consumer, source, stream]
      const rows =
        options?.lock === true
          ? await locked(on(session), of, keys)
          : await on(session).rows(heads, [...of, textArray(keys)])
      return new Map(
        rows.flatMap(([key, sequence, eventId, incarnation]) =>
          // Made to be locked.
          eventId === ''
            ? []
            : [
                [
                  String(key),
                  { sequence: Number(sequence), eventId: String(eventId), incarnation: String(incarnation) },
                ] as const,
              ],
        ),
      )
    },

    advance: async (session, { consumer, source, stream }, of) => {
      if (of.size === 0) return
      const rows = [...of.values()]
      await writing(session).run(advance, [
        consumer,
        source,
        stream,
        textArray([...of.keys()]),
        plainArray(rows.map(({ sequence }) => sequence)),
        textArray(rows.map(({ eventId }) => eventId)),
        textArray(rows.map(({ incarnation }) => incarnation)),
      ])
    },

    copy: async (session, from, to) => {
      await writing(session).run(copy, [to.consumer, to.source, to.stream, from.consumer, from.source, from.stream])
    },

    distrust: async (session, consumer, source) => {
      await writing(session).run(
        statement(`UPDATE ${s}.inbox SET incarnation = '' WHERE consumer = $1 AND source = $2`),
        [consumer, source],
      )
    },

    forget: async (session, consumer, source) => {
      await writing(session).run(statement(`DELETE FROM ${s}.inbox WHERE consumer = $1 AND source = $2`), [
        consumer,
        source,
      ])
    },
  }
}
