/** One turn of appending: connections that are new, warmed up, and measured for so long. */

import type { Appender, Arm } from './arm.ts'
import { newOrder, newOrders, nextNumbers } from './orders.ts'
import { concurrently, type Turn } from './turn.ts'

/** Transactions at once, and connections of the pool. */
export const workers = 16

export interface AppendSpec {
  readonly url: string
  /** Events of a transaction. */
  readonly size: 1 | 100
  readonly forMs: number
}

export const appendTurn = (arm: Arm, { url, size, forMs }: AppendSpec): Turn => {
  let appender: Appender | undefined
  let transactions = 0
  const transaction = async (): Promise<void> => {
    if (size === 1) await appender!.one!(newOrder(nextNumbers(1)))
    else await appender!.hundred!(newOrders(nextNumbers(100)))
    transactions++
  }
  return {
    prepare: async () => {
      transactions = 0
      appender = await arm.append!(url, { connections: workers })
      await concurrently(workers, forMs / 6, transaction)
      await appender.settled?.()
    },
    run: async () => {
      const units = await concurrently(workers, forMs, transaction)
      await appender!.settled?.()
      return { units: units * size }
    },
    after: async () => {
      await appender![Symbol.asyncDispose]()
      return transactions
    },
  }
}
