/** Contenders take turns on the same machine in the same minute, so that its noise falls on all of them alike. */

/** One way of doing the work. */
export interface Contender {
  /** What a slice needs and is not measured by. */
  readonly prepare?: () => void | Promise<void>
  /** One slice of the work; returns how many units it did. */
  readonly run: () => number | Promise<number>
  /** Checks and clears away, not measured. */
  readonly after?: () => void | Promise<void>
}

/** The cost of one unit in one slice, in microseconds. */
export interface Cost {
  readonly wallUs: number
  /** CPU of the whole process, its garbage collection included. */
  readonly cpuUs: number
}

const slice = async ({ prepare, run, after }: Contender): Promise<Cost> => {
  await prepare?.()
  // A contender pays for its own garbage, not for that of the one before it. Only the young: a full collection would throw
  // compiled code away too, and short slices would measure compiling.
  globalThis.gc?.({ type: 'minor' })
  const cpu = process.cpuUsage()
  const startMs = performance.now()
  const units = await run()
  const wallMs = performance.now() - startMs
  const { user, system } = process.cpuUsage(cpu)
  await after?.()
  return { wallUs: (wallMs * 1_000) / units, cpuUs: (user + system) / units }
}

/** Costs of each contender, round by round. Every other round goes the other way round; the first one warms up and is dropped. */
export const takeTurns = async <Name extends string>(
  contenders: Readonly<Record<Name, Contender>>,
  rounds: number,
): Promise<Readonly<Record<Name, readonly Cost[]>>> => {
  const names = Object.keys(contenders) as Name[]
  const costs = Object.fromEntries(names.map((name) => [name, [] as Cost[]])) as Record<Name, Cost[]>
  for (let round = 0; round <= rounds; round++)
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const cost = await slice(contenders[name])
      if (round > 0) costs[name].push(cost)
    }
  return costs
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export const spreadOf = (values: readonly number[]): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)! }
}

/** How many times one cost is another, round by round. */
export const ratios = (of: readonly Cost[], to: readonly Cost[], unit: keyof Cost): Spread =>
  spreadOf(of.map((cost, round) => cost[unit] / to[round]![unit]))
