/** Rates of everything that an arm does, one after the other: the state of a database at a time. */

import type { Appender, Arm } from './arm.ts'
import { workers } from './append-turn.ts'
import { newOrder, nextNumbers } from './orders.ts'
import { concurrently } from './turn.ts'

/** Per second; a tick in milliseconds. What an arm cannot do is null, as JSON has it. */
export interface Sample {
  readonly spread: number | null
  readonly hot: number | null
  readonly drain: number | null
  readonly tick: number | null
  /** Events that wait after it. */
  readonly waiting: number
}

export interface SampleSpec {
  readonly forMs: number
  /** Events of one drain; a queue in which fewer wait is filled up to so many. */
  readonly drained: number
  readonly waiting: number
}

export const keys = 10_000

export const sampleOf = async (arm: Arm, url: string, { forMs, drained, waiting }: SampleSpec): Promise<Sample> => {
  let nowWaiting = waiting
  const appendTo = async (keyOf: (number: number) => string): Promise<number> => {
    await using appender: Appender = await arm.append!(url, { connections: workers })
    const one = async (): Promise<void> => {
      const number = nextNumbers(1)
      await appender.one!(newOrder(number, keyOf(number)))
      nowWaiting++
    }
    await concurrently(workers, forMs / 6, one)
    const startMs = performance.now()
    const count = await concurrently(workers, forMs, one)
    const rate = (count * 1_000) / (performance.now() - startMs)
    await appender.settled?.()
    return rate
  }
  const spread = await appendTo((number) => `order-${(number * 7_919) % keys}`)
  const hot = await appendTo(() => 'order-hot')
  const tick = (await arm.tick?.(url)) ?? null
  let rate: number | null = null
  if (arm.drain !== undefined) {
    if (arm.keeps !== true && nowWaiting < drained) {
      await arm.fill!(url, drained - nowWaiting)
      nowWaiting = drained
    }
    await using drain = await arm.drain(url, { events: drained, limitMs: 3_000 })
    const { events, wallMs } = await drain.run()
    if (arm.keeps !== true) nowWaiting -= events
    rate = (events * 1_000) / wallMs
  }
  return { spread, hot, tick, drain: rate, waiting: nowWaiting }
}
