/** Which processes run which version of a handler, on SQLite: a process that is gone is known to be. */

import type { Consumption, Editions, Session } from '../store.ts'
import { on } from './connection.ts'
import { isGone } from './owner.ts'

interface Member extends Consumption {
  readonly owner: string
  readonly edition: number
}

const where = 'WHERE consumer = ? AND source = ?'

export const createEditions = (p: string, owner: string): Editions => {
  const members = (session: Session, { consumer, source }: Consumption) =>
    on(session).prepare(`SELECT * FROM ${p}member ${where}`).all(consumer, source) as unknown as readonly Member[]

  const numberOf = (session: Session, { consumer, source }: Consumption, wants: string): number => {
    const known = on(session)
      .prepare(`SELECT number FROM ${p}edition ${where} AND wants = ?`)
      .get(consumer, source, wants)
    if (known !== undefined) return Number(known['number'])
    const made = on(session)
      .prepare(
        `INSERT INTO ${p}edition (consumer, source, number, wants)
         SELECT ?, ?, coalesce(max(number), 0) + 1, ? FROM ${p}edition ${where} RETURNING number`,
      )
      .get(consumer, source, wants, consumer, source)
    return Number(made!['number'])
  }

  const leave = (session: Session, { consumer, source }: Consumption, of: string): void =>
    void on(session).prepare(`DELETE FROM ${p}member ${where} AND owner = ?`).run(consumer, source, of)

  return {
    stayMs: undefined,

    join: (session, of, wants) => {
      const { consumer, source } = of
      for (const member of members(session, of)) if (isGone(member.owner)) leave(session, of, member.owner)
      const number = numberOf(session, of, wants)
      on(session)
        .prepare(
          `INSERT INTO ${p}member (consumer, source, owner, edition) VALUES (?, ?, ?, ?)
           ON CONFLICT (consumer, source, owner) DO UPDATE SET edition = excluded.edition`,
        )
        .run(consumer, source, owner, number)
      const all = members(session, of)
      if (all.some(({ edition }) => edition > number)) return number
      const registered = on(session).prepare(`SELECT effects FROM ${p}consumer WHERE name = ?`).get(consumer)
      const free = registered?.['effects'] === 'external' ? '' : 'owner = NULL, until_ms = 0,'
      // Whoever is not known to run this one, or has never said what it runs.
      on(session)
        .prepare(
          `UPDATE ${p}cursor SET ${free} epoch = epoch + 1 ${where} AND owner IS NOT NULL
             AND owner NOT IN (SELECT owner FROM ${p}member ${where} AND edition = ?)`,
        )
        .run(consumer, source, consumer, source, number)
      return number
    },

    isSuperseded: (session, of, edition) =>
      members(session, of).some((member) => member.edition > edition && !isGone(member.owner)),

    leave: (session, of) => leave(session, of, owner),

    running: (session) => {
      const all = on(session).prepare(`SELECT * FROM ${p}member`).all() as unknown as Member[]
      const there = all.filter((member) => !isGone(member.owner))
      return [
        ...Map.groupBy(there, ({ consumer, source, edition }) => JSON.stringify([consumer, source, edition])).values(),
      ].map((those) => {
        const { consumer, source, edition } = those[0]!
        return { consumer, source, edition, processes: those.length }
      })
    },

    wanted: (session, source) =>
      on(session)
        .prepare(
          `SELECT wants, owner FROM ${p}member m
           JOIN ${p}edition e ON e.consumer = m.consumer AND e.source = m.source AND e.number = m.edition WHERE m.source = ?`,
        )
        .all(source)
        .flatMap((row) => (isGone(String(row['owner'])) ? [] : [String(row['wants'])])),
  }
}
