/** Which processes run which version of a handler, on Postgres: a process is there as long as its connection is. */

import type { Editions } from '../store.ts'
import { on, statement, writing } from './connection.ts'
import { goneSql } from './owner.ts'

/** A connection that is gone may come again, and what it wants with it. */
const goneAfterMs = 60_000

/** Behind a pooler no connection tells: so long a process that has not said that it ends is thought to be there. */
const pooledForMs = 86_400_000

export const createEditions = (s: string, owner: string): Editions => {
  const nowMs = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`
  const of = (first: number) => `consumer = $${first} AND source = $${first + 1}`
  const isThere = `(gone_ms IS NULL OR gone_ms > ${nowMs} - ${goneAfterMs})
    AND (owner NOT LIKE 'pooled:%' OR at_ms > ${nowMs} - ${pooledForMs})`

  const alone = statement(`SELECT 1 FROM ${s}.consumer WHERE name = $1 FOR UPDATE`)
  // What is about to be claimed by an older one is waited for, so that it is seen.
  const hold = statement(`SELECT 1 FROM ${s}.cursor WHERE ${of(1)} ORDER BY lane FOR UPDATE`)
  const known = statement(`SELECT number FROM ${s}.edition WHERE ${of(1)} AND wants = $3`)
  const make = statement(
    `INSERT INTO ${s}.edition (consumer, source, number, wants)
     SELECT $1, $2, coalesce(max(number), 0) + 1, $3 FROM ${s}.edition WHERE ${of(4)} RETURNING number`,
  )
  const enter = statement(
    `INSERT INTO ${s}.member (consumer, source, owner, edition, at_ms) VALUES ($1, $2, $3, $4::text::integer, ${nowMs})
     ON CONFLICT (consumer, source, owner) DO UPDATE SET edition = excluded.edition, at_ms = excluded.at_ms, gone_ms = NULL`,
  )
  const gone = `UPDATE ${s}.member SET gone_ms = CASE WHEN ${goneSql('owner')} THEN ${nowMs} END
     WHERE ${goneSql('owner')} <> (gone_ms IS NOT NULL)`
  const look = statement(`${gone} AND ${of(1)}`)
  const lookAt = statement(`${gone} AND source = $1`)
  const forget = statement(`DELETE FROM ${s}.member WHERE ${of(1)} AND NOT (${isThere})`)
  const newer = statement(`SELECT 1 FROM ${s}.member WHERE ${of(1)} AND edition > $3::text::integer LIMIT 1`)
  const newerThere = statement(
    `SELECT 1 FROM ${s}.member WHERE ${of(1)} AND edition > $3::text::integer AND ${isThere} LIMIT 1`,
  )
  // Whoever is not known to run this one, or has never said what it runs.
  const older = statement(
    `SELECT 1 FROM ${s}.cursor WHERE ${of(1)}
       AND owner NOT IN (SELECT owner FROM ${s}.member WHERE ${of(3)} AND edition = $5::text::integer)
     UNION ALL SELECT 1 FROM ${s}.member WHERE ${of(6)} AND edition <> $8::text::integer LIMIT 1`,
  )
  const isExternal = `EXISTS (SELECT 1 FROM ${s}.consumer WHERE name = c.consumer AND effects = 'external')`
  const take = statement(
    `UPDATE ${s}.cursor c SET owner = CASE WHEN ${isExternal} THEN owner END,
       until_ms = CASE WHEN ${isExternal} THEN until_ms ELSE 0 END, epoch = epoch + 1 WHERE ${of(1)}
       AND owner NOT IN (SELECT owner FROM ${s}.member WHERE ${of(3)} AND edition = $5::text::integer)`,
  )
  const running = statement(
    `SELECT consumer, source, edition, count(*) FROM ${s}.member WHERE ${isThere} AND NOT ${goneSql('owner')} GROUP BY 1, 2, 3`,
  )
  const remove = statement(`DELETE FROM ${s}.member WHERE ${of(1)} AND owner = $3`)
  const wanted = statement(
    `SELECT DISTINCT wants FROM (SELECT * FROM ${s}.member WHERE source = $1 AND ${isThere}) m
     JOIN ${s}.edition e ON e.consumer = m.consumer AND e.source = m.source AND e.number = m.edition`,
  )

  const isSuperseded: Editions['isSuperseded'] = async (session, { consumer, source }, edition) => {
    const own = writing(session)
    const at = [consumer, source, String(edition)]
    // Who is there is asked where it matters only.
    if ((await own.row(newer, at)) === undefined) return false
    await own.run(look, [consumer, source])
    return (await own.row(newerThere, at)) !== undefined
  }

  return {
    stayMs: owner.startsWith('pooled:') ? pooledForMs / 4 : undefined,

    join: async (session, { consumer, source }, wants) => {
      const own = writing(session)
      const at = [consumer, source]
      await own.run(alone, [consumer])
      await own.run(look, at)
      await own.run(forget, at)
      const row = (await own.row(known, [...at, wants])) ?? (await own.row(make, [...at, wants, ...at]))
      const number = Number(row![0])
      await own.run(enter, [...at, owner, String(number)])
      if ((await own.row(newerThere, [...at, String(number)])) !== undefined) return number
      if ((await own.row(older, [...at, ...at, String(number), ...at, String(number)])) === undefined) return number
      await own.run(hold, at)
      await own.run(take, [...at, ...at, String(number)])
      return number
    },

    isSuperseded,

    leave: async (session, { consumer, source }) => {
      await writing(session).run(remove, [consumer, source, owner])
    },

    running: async (session) =>
      (await on(session).rows(running, [])).map(([consumer, source, edition, processes]) => ({
        consumer: String(consumer),
        source: String(source),
        edition: Number(edition),
        processes: Number(processes),
      })),

    wanted: async (session, source) => {
      const own = writing(session)
      await own.run(lookAt, [source])
      return (await own.rows(wanted, [source])).map(([wants]) => String(wants))
    },
  }
}
