/** An emulated SNS and SQS of a test file's own, and the contract of a transport held against it, with FIFO and without. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/core/environment.ts'
import { type Names, namesWith } from '../../src/exchange/sns-sqs/names.ts'
import type { Transport } from '../../src/exchange/transport.ts'
import { type Cannot, plan, transportContract, type TransportHarness } from '../../src/testing/index.ts'
import type { Broker } from '../../tools/servers/broker.ts'
import { missingSnsSqs, startSnsSqs } from '../../tools/servers/sns-sqs.ts'
import { type AwsClients, awsClients } from './aws-clients.ts'
import { titled } from './require-server.ts'
import { newPrefix, quick } from './sns-sqs-bench.ts'

export const missing = missingSnsSqs()

/** Of the whole file; there before its first test. */
export const ownBroker = (): (() => Broker) => {
  let broker: Broker
  beforeAll(async () => {
    if (missing === undefined) broker = await startSnsSqs()
  })
  afterAll(() => broker?.[Symbol.asyncDispose]())
  return () => broker
}

interface Way {
  readonly transport: (clients: AwsClients, options: typeof quick & { prefix: string; fifo: boolean }) => Transport
  /** Sends a text to where messages of the context go. */
  readonly inject: (clients: AwsClients, names: Names, context: string, text: string, order: object) => Promise<unknown>
}

const harness = (broker: () => Broker, { transport, inject }: Way, fifo: boolean): TransportHarness => ({
  create: async () => {
    const prefix = newPrefix()
    const clients: AwsClients[] = []
    return {
      transport: () => transport(clients[clients.push(awsClients(broker().url)) - 1]!, { prefix, fifo, ...quick }),
      inject: async ({ context }, body) => {
        using foreign = awsClients(broker().url)
        const order = { MessageGroupId: 'foreign', MessageDeduplicationId: systemEnvironment.id() }
        const text = new TextDecoder().decode(body)
        await inject(foreign, namesWith(prefix, fifo), context, text, fifo ? order : {})
      },
      crash: () => broker().restart({ immediate: true }),
      [Symbol.asyncDispose]: async () => {
        for (const each of clients) each[Symbol.dispose]()
      },
    }
  },
})

const cannot: Cannot = {
  'what is not an event is refused, and holds up nothing':
    'neither SNS nor SQS takes an empty message or bytes that are no text; what they do take is tried beside',
}

export const keepsTheContract = (title: string, broker: () => Broker, way: Way): void => {
  describe.skipIf(missing).each([true, false])(titled(`${title} (fifo: %s)`, missing), (fifo) => {
    const planned = plan(transportContract, cannot)
    test.each(planned.filter((rule) => rule.cannot === undefined))('$name', { timeout: 180_000 }, ({ run }) =>
      run(harness(broker, way, fifo)),
    )
    // A declaration that has become untrue fails.
    test.each(planned.filter((rule) => rule.cannot !== undefined))('cannot: $name ($cannot)', async ({ run }) => {
      await expect(run(harness(broker, way, fifo))).rejects.toBeInstanceOf(Error)
    })
  })
}
