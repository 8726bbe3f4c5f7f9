/** Appending with pabal: a unit of work with the order row, its events numbered by the app in this process. */

import { setTimeout } from 'node:timers/promises'
import type { Appender, Arm } from './arm.ts'
import { headOf, opened, OrderPlaced, ordering } from './pabal-context.ts'
import { insertOrder, newOrders, nextNumbers, type Order, orderRow } from './orders.ts'

export const setUp = async (url: string): Promise<void> => {
  await using made = opened(url, { max: 2 })
  await made.app.context(ordering).read(() => undefined)
}

export const append =
  ({ pipeline, start = true }: { readonly pipeline: boolean; readonly start?: boolean }): NonNullable<Arm['append']> =>
  async (url, { connections }): Promise<Appender> => {
    const made = opened(url, { max: connections, pipeline })
    const running = made.app.context(ordering)
    let expected = await headOf(made.app)
    if (start) await made.app.start()
    const inTransaction = async (orders: readonly Order[]): Promise<void> => {
      await running.transaction(async ({ tx, raise }) => {
        await tx.query(insertOrder, orderRow(orders[0]!))
        for (const order of orders) raise(OrderPlaced, order)
      })
      expected += orders.length
    }
    return {
      one: (order) => inTransaction([order]),
      hundred: inTransaction,
      settled: async () => {
        while ((await headOf(made.app)) < expected) await setTimeout(2)
      },
      [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
    }
  }

export const fill = async (url: string, events: number): Promise<void> => {
  await using made = opened(url, { max: 4, pipeline: true })
  await made.app.start()
  const expected = (await headOf(made.app)) + events
  const running = made.app.context(ordering)
  for (let filled = 0; filled < events; filled += 1_000) {
    const first = nextNumbers(1_000)
    await running.transaction(({ raise }) => {
      for (let i = 0; i < 10; i++) for (const order of newOrders(first + i * 100)) raise(OrderPlaced, order)
    })
  }
  while ((await headOf(made.app)) < expected) await setTimeout(10)
}
