/** BullMQ over Redis: jobs in bulk from memory, and a worker that does nothing. */

import { labelOf, load } from '../competitors.ts'
import { type Arm, drainBy } from '../postgres/arm.ts'
import { newOrder, nextNumbers, topic } from '../postgres/orders.ts'
import { nameIn } from '../postgres/server.ts'

interface BullMq {
  readonly Queue: new (name: string, options: object) => Queue
  readonly Worker: new (name: string, work: () => Promise<void>, options: object) => { close(): Promise<void> }
}
interface Queue {
  addBulk(jobs: readonly { readonly name: string; readonly data: object; readonly opts: object }[]): Promise<unknown>
  close(): Promise<void>
}

const bulk = 500
const concurrency = 100
const keys = 500

const connectionTo = (server: string): object => {
  const { hostname, port } = new URL(server)
  return { host: hostname, port: Number(port), maxRetriesPerRequest: null }
}

const jobsOf = (count: number) => {
  const first = nextNumbers(count)
  return Array.from({ length: count }, (_, i) => ({
    name: topic,
    data: newOrder(first + i, `order-${i % keys}`),
    opts: { removeOnComplete: true },
  }))
}

const queueOf = async (server: string, url: string): Promise<Queue> => {
  const { Queue } = await load<BullMq>('bullmq')
  return new Queue(nameIn(url), { connection: connectionTo(server) })
}

export const bullmqRelay = (server: string): Arm => {
  let waiting = 0
  return {
    name: labelOf('bullmq'),
    note: `\`addBulk\` of the same orders from memory, ${bulk} at a time; no log, no outbox.`,
    refills: true,
    setUp: async () => {},
    fill: async (_url, events) => {
      waiting = events
    },
    drain: async (url, { limitMs }) => {
      const jobs = jobsOf(waiting)
      const queue = await queueOf(server, url)
      return {
        run: async () => {
          const startMs = performance.now()
          let events = 0
          for (; events < jobs.length && performance.now() < startMs + limitMs; events += bulk)
            await queue.addBulk(jobs.slice(events, events + bulk))
          return { events: Math.min(events, jobs.length), wallMs: performance.now() - startMs }
        },
        [Symbol.asyncDispose]: () => queue.close(),
      }
    },
  }
}

export const bullmqConsume = (server: string): Arm => ({
  name: labelOf('bullmq'),
  note: `A worker that does nothing, ${concurrency} jobs at once, without an order of keys; no database. Its msgpackr runs without its native part.`,
  refills: true,
  setUp: async () => {},
  fill: async (url, events) => {
    const queue = await queueOf(server, url)
    const jobs = jobsOf(events)
    for (let at = 0; at < events; at += bulk) await queue.addBulk(jobs.slice(at, at + bulk))
    await queue.close()
  },
  drain: async (url, options) =>
    drainBy(options, async (countdown) => {
      const { Worker } = await load<BullMq>('bullmq')
      const worker = new Worker(nameIn(url), async () => countdown.handled(), {
        connection: connectionTo(server),
        concurrency,
      })
      return () => worker.close()
    }),
})
