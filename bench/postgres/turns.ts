/** Arms take turns on one server: costs of both sides, round by round. */

import { type Spread, spreadOf } from '../measure.ts'
import type { Entry, Field } from './field.ts'
import type { TurnSpec } from './jobs.ts'
import type { Meter, Server } from './server.ts'

/** Of one unit. */
export interface Cost {
  readonly round: number
  readonly units: number
  readonly wallUs: number
  /** CPU of the arm's process, its garbage collection included. */
  readonly cpuUs: number
  readonly serverCpuUs: number
  readonly walBytes: number
  /** Of a transaction. */
  readonly fsyncs: number
}

export type Costs = ReadonlyMap<string, readonly Cost[]>

export interface Taking {
  /** Tells turns of one arm apart. */
  readonly id: string
  readonly entry: Entry
  readonly spec: TurnSpec
  /** Takes part in so many rounds; in all unless given. One that is so slow is not warmed up either. */
  readonly rounds?: number
}

const take = async (server: Server, round: number, { id, entry: { process }, spec }: Taking): Promise<Cost> => {
  const fsyncsBefore = await server.fsyncs()
  await process.do('prepare', id, spec)
  const before = await server.meter()
  const { units, wallMs, cpuUs } = await process.do('run', id)
  const used = since(before, await server.meter())
  const transactions = await process.do('after', id)
  await server.left(spec.url)
  const fsyncs = (await server.fsyncs()) - fsyncsBefore
  return {
    round,
    units,
    wallUs: (wallMs * 1_000) / units,
    cpuUs: cpuUs / units,
    serverCpuUs: (used.cpuUs ?? Number.NaN) / units,
    walBytes: used.walBytes / units,
    fsyncs: transactions === undefined ? Number.NaN : fsyncs / transactions,
  }
}

const since = (before: Meter, after: Meter): Meter => ({
  cpuUs: before.cpuUs === undefined ? undefined : after.cpuUs! - before.cpuUs,
  walBytes: after.walBytes - before.walBytes,
})

/** Every other round goes the other way round; the first one warms up and is dropped. Costs by the takings' ids. */
export const takeTurns = async (
  server: Server,
  field: Field,
  takings: readonly Taking[],
  rounds: number,
): Promise<Costs> => {
  const costs = new Map<string, Cost[]>()
  for (let round = 0; round <= rounds; round++)
    for (const taking of round % 2 === 0 ? takings : takings.toReversed()) {
      const { id, entry, rounds: limit } = taking
      if (!field.entries.includes(entry)) continue
      if (limit !== undefined && (round === 0 || round > limit)) continue
      try {
        const cost = await take(server, round, taking)
        if (round > 0) costs.set(id, [...(costs.get(id) ?? []), cost])
      } catch (error) {
        field.broke(entry.key, error)
      }
    }
  return costs
}

export const spread = (costs: readonly Cost[], of: (cost: Cost) => number): Spread => spreadOf(costs.map(of))

export const rateOf = (costs: readonly Cost[]): Spread => spread(costs, ({ wallUs }) => 1_000_000 / wallUs)

/** How many times the rate of one is that of another, round by round. */
export const timesTheRate = (of: readonly Cost[], to: readonly Cost[]): Spread =>
  roundByRound(of, to, (mine, other) => other.wallUs / mine.wallUs)

/** The same for the CPU of both sides. */
export const timesTheCpu = (of: readonly Cost[], to: readonly Cost[]): Spread => {
  const cpu = ({ cpuUs, serverCpuUs }: Cost): number => cpuUs + serverCpuUs
  return roundByRound(of, to, (mine, other) => cpu(mine) / cpu(other))
}

const roundByRound = (of: readonly Cost[], to: readonly Cost[], ratio: (mine: Cost, other: Cost) => number): Spread =>
  spreadOf(
    of.flatMap((mine) => {
      const other = to.find(({ round }) => round === mine.round)
      return other === undefined ? [] : [ratio(mine, other)]
    }),
  )
