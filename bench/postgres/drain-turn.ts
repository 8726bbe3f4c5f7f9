/** One turn of draining what waits. */

import type { Arm, Drain } from './arm.ts'
import { tidy } from './server.ts'
import type { Turn } from './turn.ts'

export interface DrainSpec {
  readonly url: string
  readonly backlog: number
  /** Stops by then, done or not. */
  readonly limitMs: number
  /** The handler writes a row for each event. */
  readonly writes?: boolean
  /** How many wait already. */
  readonly filled?: number
  /** The backlog is filled up again when fewer wait; by default, when any is missing. */
  readonly refillBelow?: number
}

export const drainTurn = (
  arm: Arm,
  { url, backlog, limitMs, writes = false, filled = 0, refillBelow = backlog }: DrainSpec,
): Turn => {
  let waiting = filled
  let drain: Drain | undefined
  return {
    prepare: async () => {
      if (waiting < refillBelow) {
        await arm.fill!(url, backlog - waiting)
        waiting = backlog
        await tidy(url)
      }
      drain = await arm.drain!(url, { events: waiting, limitMs, writes })
    },
    run: async () => {
      const { events, wallMs } = await drain!.run()
      if (arm.keeps !== true) waiting = arm.refills === true ? 0 : Math.max(0, waiting - events)
      return { units: events, wallMs }
    },
    after: async () => {
      await drain![Symbol.asyncDispose]()
      return undefined
    },
  }
}
