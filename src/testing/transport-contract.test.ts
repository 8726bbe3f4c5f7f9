import { describe, expect, test } from 'vitest'
import type { OpenTransport, Transport } from '../exchange/transport.ts'
import { kind, nasty, NastyBroker, transportContract, type TransportHarness } from './index.ts'

const inMemory = (options: { readonly ordered: boolean; readonly faults: typeof kind }): TransportHarness => ({
  create: async () => {
    const { ordered, faults } = options
    const broker = new NastyBroker({ random: Math.random, traits: { ordered }, faults })
    return {
      transport: () => broker.transport,
      inject: async (channel, body) => broker.inject(channel, 'foreign', { headers: {}, contentType: undefined, body }),
      [Symbol.asyncDispose]: async () => {},
    }
  },
})

describe('the contract of a transport', () => {
  test('says each rule once, in the present tense', () => {
    const names = transportContract.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
    for (const name of names) expect(name).toMatch(/^\p{Ll}[^.]*[^.\s]$/u)
  })

  describe('in memory', () => {
    test.each(transportContract)('$name', ({ run }) => run(inMemory({ ordered: true, faults: kind })))
  })
})

/** An adapter that breaks one rule: what it does otherwise, and a rule that must notice. */
const saboteurs: readonly { does: string; opened: (open: OpenTransport) => Partial<OpenTransport>; broken: string }[] =
  [
    {
      does: 'says that it has what it has lost',
      opened: () => ({ publish: async (_channel, messages) => messages.map(() => undefined) }),
      broken: 'each subscriber is brought what is published',
    },
    {
      does: 'acknowledges what was not taken',
      opened: (open) => ({
        receive: (channel, subscriber, take) =>
          open.receive(channel, subscriber, (batch) => take(batch).catch(() => batch.map(() => undefined))),
      }),
      broken: 'a batch that was not taken comes again, all of it',
    },
    {
      does: 'publishes backwards',
      opened: (open) => ({
        publish: async (channel, messages, signal) =>
          (await open.publish(channel, messages.toReversed(), signal)).toReversed(),
      }),
      broken: 'messages of a key come in the order in which they were published',
    },
  ]

describe('a transport that is sabotaged', () => {
  test.each(saboteurs)('$does: "$broken" notices', { timeout: 180_000 }, async ({ opened, broken }) => {
    const harness = inMemory({ ordered: true, faults: kind })
    const sabotaged: TransportHarness = {
      create: async () => {
        const under = await harness.create()
        const transport = (): Transport => {
          const plain = under.transport()
          return {
            ...plain,
            open: async (options) => {
              const open = await plain.open(options)
              return { ...open, ...opened(open) }
            },
          }
        }
        return { ...under, transport }
      },
    }
    const { run } = transportContract.find(({ name }) => name === broken)!
    await expect(run(sabotaged)).rejects.toBeInstanceOf(Error)
  })

  test('the nasty one keeps what it declares', { timeout: 180_000 }, async () => {
    const names = ['each subscriber is brought what is published', 'a batch that was not taken comes again, all of it']
    for (const { name, run } of transportContract)
      if (names.includes(name)) await run(inMemory({ ordered: false, faults: nasty }))
  })
})
