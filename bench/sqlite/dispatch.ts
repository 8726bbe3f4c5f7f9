/** One event to three handlers inside one process: what a unit of work costs over an EventEmitter, and over Nest's event bus. */

import { EventEmitter } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { createApp } from '../../src/index.ts'
import { type Contender, type Cost, ratios, spreadOf, takeTurns } from '../measure.ts'
import type { Result } from '../report.ts'
import { nestBus } from './nest.ts'
import { newOrder, type Order, ordering } from './orders.ts'
import { Outbox, type Placed, placed } from './outbox.ts'

const raisesPerUnit = 100

/**
 * Before-commit handlers over an in-memory database; a new one for every slice. `stored`: appended and committed. Else the last
 * handler gives the unit up, so that only raising and dispatching are left.
 */
const units = (schema: 'zod' | 'anything', stored: boolean, events: number): Contender => {
  let handled = 0
  let orders: readonly Order[] = []
  const { OrderPlaced, context, at } = ordering(schema)
  const count = () => void handled++
  const last = () => {
    if (++handled % (3 * raisesPerUnit) === 0 && !stored) throw givenUp
  }
  const handlers = [count, count, last].map((handler, n) =>
    context.on(OrderPlaced, `handler-${n}`, handler, { phase: 'before-commit' }),
  )
  const create = () => createApp({ contexts: [at(':memory:', handlers)] })
  let app = create()
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
        try {
          await running.transaction(({ raise }) => {
            for (let i = raised; i < raised + raisesPerUnit; i++) raise(OrderPlaced, orders[i]!)
          })
        } catch (error) {
          if (error !== givenUp) throw error
        }
      return events
    },
    after: async () => {
      await app.stop()
      check(handled, events)
    },
  }
}

/** Storing alone, by hand: an event cannot be dispatched and stored for less. */
const storing = (events: number): Contender => {
  let outbox: Outbox | undefined
  let orders: readonly Placed[] = []
  return {
    prepare: () => {
      outbox = new Outbox(':memory:')
      orders = Array.from({ length: events }, (_, n) => placed(n))
    },
    run: () => {
      for (let i = 0; i < events; i += raisesPerUnit)
        outbox!.placeAll(orders.slice(i, i + raisesPerUnit), raisesPerUnit)
      return events
    },
    after: () => outbox!.db.close(),
  }
}

const givenUp = new Error('given up')

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
      anything: units('anything', true, 20_000),
      zod: units('zod', true, 20_000),
      givenUp: units('zod', false, 20_000),
      storing: storing(20_000),
      emitter: emitter(1_000_000),
      nest: bus,
    },
    rounds,
  )
  await bus.close()
  const times = (what: string, name: keyof typeof costs, goal?: Result['goal']): Result => ({
    what,
    ...(goal === undefined ? {} : { goal }),
    measured: ratios(costs[name], costs.emitter, 'cpuUs'),
    unit: 'times the CPU of EventEmitter',
    note: `CPU ${us(costs[name])} µs against ${us(costs.emitter)} µs per event`,
  })
  const faster = (what: string, name: keyof typeof costs, goal?: Result['goal']): Result => ({
    what,
    ...(goal === undefined ? {} : { goal }),
    measured: ratios(costs.nest, costs[name], 'cpuUs'),
    unit: 'times as fast as @nestjs/cqrs',
    note: `CPU ${us(costs[name])} µs against ${us(costs.nest)} µs per event`,
  })
  return [
    times('dispatch: three handlers before commit, stored', 'anything', { atMost: 60 }),
    times('  the same, zod schema', 'zod', { atMost: 60 }),
    times('  the same, given up before it is stored', 'givenUp', { atMost: 60 }),
    times('  storing alone, by hand', 'storing'),
    faster('dispatch: three handlers before commit, stored', 'anything', { atLeast: 4 }),
    faster('  the same, zod schema', 'zod', { atLeast: 4 }),
    faster('  the same, given up before it is stored', 'givenUp', { atLeast: 4 }),
  ]
}

const us = (costs: readonly Cost[]): string => spreadOf(costs.map(({ cpuUs }) => cpuUs)).median.toFixed(2)
