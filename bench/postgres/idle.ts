/** What a process that has nothing to do asks of the server, with one context (queue, task, subscription) and with twenty. */

import { setTimeout } from 'node:timers/promises'
import type { ArmName } from './arms.ts'
import { Field } from './field.ts'
import type { Part } from './part.ts'
import { nameIn, Server } from './server.ts'
import { figure, type Table } from './tables.ts'

const names: readonly ArmName[] = [
  'pabal',
  'pgBoss',
  'pgBossNotified',
  'graphileWorker',
  'emmett',
  'dbos',
  'pgTransactionalOutbox',
]

/** Statements so far, by database. */
const statementsOf = async (server: Server): Promise<ReadonlyMap<string, number>> => {
  const rows = await server.query<{ name: string; calls: string }>(
    `SELECT d.datname AS name, sum(s.calls) AS calls
     FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid GROUP BY d.datname`,
  )
  return new Map(rows.map(({ name, calls }) => [name, Number(calls)]))
}

const consume = async (field: Field, topics: number): Promise<void> => {
  for (const { key, url, process } of field.entries)
    try {
      await process.do('consume', url, topics)
    } catch (error) {
      field.broke(key, error)
    }
}

export const idle: Part = async ({ only, quick, progress }) => {
  const settleMs = quick ? 5_000 : 15_000
  const watchMs = quick ? 10_000 : 60_000
  // Statements are counted on a server of its own: the counting costs the others something.
  await using server = await Server.start({ shared_preload_libraries: 'pg_stat_statements' })
  await server.query('CREATE EXTENSION pg_stat_statements')
  const idling = names.filter((name) => only === undefined || only.includes(name))
  await using one = await Field.of(idling, { server, only: undefined, part: 'idle_1' })
  await using twenty = await Field.of(idling, { server, only: undefined, part: 'idle_20' })
  progress(`idle: ${one.entries.map(({ key }) => key).join(', ')}, all at once`)
  await consume(one, 1)
  await consume(twenty, 20)
  await setTimeout(settleMs)
  const before = await statementsOf(server)
  const startMs = performance.now()
  await setTimeout(watchMs)
  const after = await statementsOf(server)
  const minutes = (performance.now() - startMs) / 60_000

  const perMinute = (field: Field, name: ArmName): number => {
    const entry = field.entries.find(({ key }) => key === name)
    if (entry === undefined) return Number.NaN
    const database = nameIn(entry.url)
    return ((after.get(database) ?? 0) - (before.get(database) ?? 0)) / minutes
  }
  const rates = one.entries.map(({ key, name }) => ({ name, one: perMinute(one, key), twenty: perMinute(twenty, key) }))
  const table: Table = {
    title: 'Idle: statements per minute of one process',
    columns: ['arm', '1 context', '20 contexts'],
    rows: rates.map((rate) => [rate.name, figure(rate.one), figure(rate.twenty)]),
    notes: [
      `Counted over ${figure(watchMs / 1_000)} s by pg_stat_statements, BEGIN and COMMIT included, all processes at once, each in its database. A context is a queue of pg-boss and DBOS, a task of graphile-worker, a consumer of Emmett, a listener of pg-transactional-outbox. Intervals are the defaults.`,
      ...one.missing,
      ...twenty.missing,
    ],
    figures: rates,
  }
  return [table]
}
