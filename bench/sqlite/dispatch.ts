/** One event to three handlers inside one process: what a unit of work costs over an EventEmitter, and over Nest's event bus. */

import { EventEmitter } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { createApp } from '../../src/index.ts'
import { type Contender, type Cost, ratios, type Spread, spreadOf, takeTurns } from '../measure.ts'
import type { Result } from '../report.ts'
import { nestBus } from './nest.ts'
import { newOrder, type Order, ordering } from './orders.ts'

const raisesPerUnit = 100

/** Before-commit handlers over an in-memory database, raised and appended and all; a new database for every slice. */
const units = (schema: 'zod' | 'anything', events: number): Contender => {
  let handled = 0
  const { OrderPlaced, context, at } = ordering(schema)
  const handlers = ['first', 'second', 'third'].map((name) =>
    context.on(OrderPlaced, name, () => void handled++, { phase: 'before-commit' }),
  )
  const create = () => createApp({ contexts: [at(':memory:', handlers)] })
  let app = create()
  let orders: readonly Order[] = []
  return {
    prepare: async () => {
      handled = 0
      orders = newOrders(events)
      app = create()
      await app.context(context).read(() => undefined)
    },
    run: async () => {
      const running = app.context(context)
      for (let raised = 0; raised < events; raised += raisesPerUnit)
        await running.transaction(({ raise }) => {
          for (let i = raised; i < raised + raisesPerUnit; i++) raise(OrderPlaced, orders[i]!)
        })
      return events
    },
    after: async () => {
      await app.stop()
      check(handled, events)
    },
  }
}

const emitter = (events: number): Contender => {
  let handled = 0
  const emitting = new EventEmitter()
  for (let i = 0; i < 3; i++) emitting.on('order-placed', () => void handled++)
  let orders: readonly Order[] = []
  return {
    prepare: () => {
      handled = 0
      orders = newOrders(1_000)
    },
    run: () => {
      for (let i = 0; i < events; i++) emitting.emit('order-placed', orders[i % 1_000])
      return events
    },
    after: () => check(handled, events),
  }
}

class OrderPlacedEvent {
  readonly order: Order
  constructor(order: Order) {
    this.order = order
  }
}

const nest = async (events: number): Promise<Contender & { close(): Promise<void> }> => {
  let handled = 0
  const bus = await nestBus(OrderPlacedEvent, () => void handled++)
  let orders: readonly Order[] = []
  return {
    prepare: () => {
      handled = 0
      orders = newOrders(events)
    },
    run: async () => {
      for (let published = 0; published < events; published += raisesPerUnit) {
        for (let i = published; i < published + raisesPerUnit; i++) bus.publish(new OrderPlacedEvent(orders[i]!))
        // Its handlers run at once, what it does after them a turn later.
        await setImmediate()
      }
      return events
    },
    after: () => check(handled, events),
    close: () => bus.close(),
  }
}

/** A unit is about one order. */
const newOrders = (count: number): readonly Order[] =>
  Array.from({ length: count }, (_, n) => newOrder(Math.floor(n / raisesPerUnit)))

const check = (handled: number, events: number): void => {
  if (handled !== events * 3) throw new Error(`${handled} of ${events * 3} deliveries`)
}

export const dispatch = async (_folder: string, rounds: number): Promise<Result[]> => {
  const bus = await nest(10_000)
  const costs = await takeTurns(
    {
      anything: units('anything', 20_000),
      zod: units('zod', 20_000),
      emitter: emitter(1_000_000),
      nest: bus,
    },
    rounds,
  )
  await bus.close()
  const result = (
    what: string,
    ours: 'anything' | 'zod',
    goal: NonNullable<Result['goal']>,
    measured: Spread,
    unit: string,
  ): Result => ({
    what: `dispatch: three handlers before commit, ${what}`,
    goal,
    measured,
    unit,
    note: `CPU ${us(costs[ours])} µs, EventEmitter ${us(costs.emitter)} µs, Nest ${us(costs.nest)} µs per event`,
  })
  return (['anything', 'zod'] as const).flatMap((ours) => {
    const what = ours === 'zod' ? 'zod schema' : 'schema that accepts anything'
    return [
      result(what, ours, { atMost: 60 }, ratios(costs[ours], costs.emitter, 'cpuUs'), 'times EventEmitter (CPU)'),
      result(
        what,
        ours,
        { atLeast: 4 },
        ratios(costs.nest, costs[ours], 'cpuUs'),
        'times faster than @nestjs/cqrs (CPU)',
      ),
    ]
  })
}

const us = (costs: readonly Cost[]): string => spreadOf(costs.map(({ cpuUs }) => cpuUs)).median.toFixed(2)
