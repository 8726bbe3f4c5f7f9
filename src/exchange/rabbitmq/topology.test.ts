import { describe, expect, test } from 'vitest'
import type { RabbitChannel, RabbitConnection } from './driver.ts'
import { Topology } from './topology.ts'

type Arguments = Readonly<Record<string, unknown>>

/** A server of a version that the tests do not run on, as far as it is asked for queues. */
const serverOf = (version: string, refuses: (queue: string, given: Arguments) => boolean = () => false) => {
  const queues = new Map<string, Arguments>()
  const channel: RabbitChannel = {
    assertExchange: async () => {},
    checkExchange: async () => {},
    assertQueue: async (queue, { arguments: given }) => {
      if (refuses(queue, given)) throw Object.assign(new Error("inequivalent arg 'x-delivery-limit'"), { code: 406 })
      queues.set(queue, given)
    },
    checkQueue: async () => ({ messageCount: 0 }),
    deleteExchange: async () => {},
    deleteQueue: async () => {},
    bindQueue: async () => {},
    unbindQueue: async () => {},
    prefetch: async () => {},
    consume: async () => {},
    ack: () => {},
    reject: () => {},
    close: async () => {},
    on: () => {},
  }
  const connection: RabbitConnection = {
    connection: { serverProperties: { version } },
    createChannel: async () => channel,
    createConfirmChannel: () => Promise.reject(new Error('nothing is published here')),
    close: async () => {},
    on: () => {},
  }
  return { connection, queues }
}

const warnings: string[] = []
const topology = new Topology({
  prefix: '',
  provision: true,
  subscribers: {},
  warn: (_, error) => warnings.push(String(error)),
})
const queue = 'pabal.ordering.shipping'
const declareOn = (connection: RabbitConnection) =>
  topology.forReceiving(connection, { context: 'ordering' }, 'shipping')

describe('the limit of deliveries', () => {
  test('is none on RabbitMQ 4, where it would be 20', async () => {
    const { connection, queues } = serverOf('4.1.3')
    await declareOn(connection)
    expect([...queues.keys()]).toEqual([queue, `${queue}.refused`])
    for (const given of queues.values())
      expect(given).toMatchObject({ 'x-queue-type': 'quorum', 'x-delivery-limit': -1 })
  })

  test('is not named to RabbitMQ 3, for which -1 is the first delivery', async () => {
    const { connection, queues } = serverOf('3.13.7')
    await declareOn(connection)
    for (const given of queues.values()) expect(given).not.toHaveProperty('x-delivery-limit')
  })

  test('stays as it is for a queue that was made by RabbitMQ 3, and is told', async () => {
    const { connection, queues } = serverOf('4.1.3', (_, given) => 'x-delivery-limit' in given)
    await declareOn(connection)
    for (const given of queues.values()) expect(given).not.toHaveProperty('x-delivery-limit')
    expect(warnings).toEqual([
      expect.stringContaining(`'${queue}' was made without x-delivery-limit, and sets aside`),
      expect.stringContaining(`'${queue}.refused' was made without x-delivery-limit, and drops`),
    ])
  })
})
