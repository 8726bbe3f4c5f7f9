/** What each process of the run at volume does: a producer places orders as far as it may, a consumer applies; and it dies when told. */

import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import type { App } from 'pabal'
import { over } from '../../../src/exchange/exchange.ts'
import type { Transport } from '../../../src/exchange/transport.ts'
import { rowsOf } from '../../support/shop.ts'
import { realOrders } from '../world.ts'
import { type Consumer, consumerApp, pathOf, place, type Producer, producerApp, producers } from './apps.ts'

export interface Part {
  readonly role: 'producer' | 'consumer'
  readonly name: string
  readonly folder: string
}

export interface Player {
  /** `place <n>`: up to so many orders in its log; `die`: at the next point of `mortal`; `stop`. */
  readonly commands: Readable
  /** `started`, and what it warns of. */
  readonly say: (line: string) => void
  /** Ends it at once. */
  readonly die: (app: App) => unknown
}

/** Until it is told to stop. */
export const play = async ({ role, name, folder }: Part, plain: Transport, player: Player): Promise<void> => {
  let doomed = false
  const transport = mortal(plain, () => {
    if (doomed) player.die(app)
  })
  const producer = producers.find((each) => each.name === name)
  const onWarning = (what: string, error: unknown): void =>
    player.say(`${new Date().toISOString()} ${what}: ${String(error)}`)
  const app =
    role === 'producer'
      ? producerApp(folder, producer!, over(transport), onWarning)
      : consumerApp(folder, name as Consumer, transport, { onWarning })
  await app.start()
  player.say('started')
  let placing = Promise.resolve()
  // Not before: lines that come while nobody iterates are gone.
  for await (const command of createInterface({ input: player.commands })) {
    const [verb, number] = command.split(' ')
    if (verb === 'place') placing = placing.then(() => placeUpTo(app, folder, producer!, Number(number)))
    if (verb === 'die') doomed = true
    if (verb === 'stop') break
  }
  await placing
  await app.stop()
}

/** `point` is between publishing and the move of the cursor, and between the commit of what was received and its acknowledgement. */
const mortal = (plain: Transport, point: () => void): Transport => ({
  ...plain,
  open: async (options) => {
    const open = await plain.open(options)
    return {
      publish: async (...given) => {
        const published = await open.publish(...given)
        point()
        return published
      },
      receive: (channel, subscriber, take) =>
        open.receive(channel, subscriber, async (batch) => {
          const taken = await take(batch)
          point()
          return taken
        }),
      [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
    }
  },
})

/** Goes on behind what is in the log, whoever has placed it. */
const placeUpTo = async (app: App, folder: string, producer: Producer, goal: number): Promise<void> => {
  const { name } = producer
  const sql = `SELECT count(*) AS n FROM pabal_${name}_event WHERE type = ?`
  const { n } = rowsOf<{ n: number }>(pathOf(folder, name), sql, `${name}.order-placed`)[0]!
  if (n >= goal) return
  const orders = await ordersOfFewKeys()
  await place(
    app,
    producer,
    Array.from({ length: goal - n }, (_, index) => orders[(n + index) % orders.length]!),
  )
}

const keysMax = 500

/** Real orders of the first customers: few of them order often. */
const ordersOfFewKeys = async (): Promise<{ orderId: string; n: number }[]> => {
  const keys = new Set<string>()
  return (await realOrders(1_500)).filter(({ orderId }) => {
    if (keys.size < keysMax) keys.add(orderId)
    return keys.has(orderId)
  })
}
