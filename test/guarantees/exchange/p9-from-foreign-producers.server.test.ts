/** P9 From foreign producers: what plain clients send over each broker is handled once and in order, whatever they send twice. */

import { applyTopology, destroyTopology, planTopology } from 'pabal/operate'
import { describe, expect, onTestFinished, test } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { titled } from '../../support/require-server.ts'
import { parkedIn } from '../../support/shop.ts'
import { eachBroker } from './brokers.ts'
import { channels, foreignClients } from './foreign-producers.ts'
import { foreignWorld, idOf, invoice, producer, type Sent, whole } from './foreign-world.ts'
import { transports } from './transports.ts'

const withinMs = 120_000

const keys = ['inv-1', 'inv-2', '송장 3', 'inv-4', 'inv-5']

/** Of all keys by turns. */
const invoices = (from: number, to: number): Sent[] =>
  Array.from({ length: to - from + 1 }, (_, i) => keys.map((key) => invoice(key, from + i))).flat()

const poison: readonly Sent[] = [
  invoice('x', 1, { source: 'urn:acme:other' }),
  invoice('y', 1, { source: 'urn:pabal:erp' }),
  { ...invoice('z', 1, { datacontenttype: 'text/plain' }), data: 'hello' },
]
/** Each fits what a CloudEvent is, and not what an invoice is. */
const unfit: readonly Sent[] = [{ ...invoice('sick', 1), data: '{"n":"one"}' }, invoice('sick', 2)]

describe.each(eachBroker)('from a foreign producer', (name, { missing, start }) => {
  describe.skipIf(missing)(titled(`over ${name}`, missing), () => {
    const { ofPabal, own } = channels[name]

    test.each([
      ['named by pabal', ofPabal],
      ['of its own, of which pabal makes nothing,', own],
    ])('over a channel %s nothing is lost, doubled or out of order', { timeout: 2 * withinMs }, async (_, channel) => {
      const broker = await start()
      onTestFinished(() => broker[Symbol.asyncDispose]())
      const client = await foreignClients[name](broker.url, channel)
      onTestFinished(() => client[Symbol.asyncDispose]())
      const isOwn = channel === own
      if (isOwn) await client.make()
      const foreign = { erp: { ...producer, ...(isOwn ? { channel } : {}) } }
      const world = await foreignWorld(await transports[name](broker.url, !isOwn))
      const app = () => world.app({ carried: { foreign } })
      const first = app()
      // Some brokers keep nothing for those who have never been there.
      await applyTopology(first)
      // Of a key. The emulator hands out one message of a group with each receive.
      const last = name === 'sns-sqs' ? 9 : 30
      const third = last / 3

      await first.start()
      await client.send(invoices(1, third))
      world.watch.deaths = 2
      await client.send([...poison, ...unfit, ...invoices(1, third), ...invoices(third + 1, 2 * third)])
      await eventually('it has died, twice', () => world.watch.deaths === 0, withinMs)
      await first.stop({ graceMs: 100 })

      // Two processes of one that was away.
      await client.send([...invoices(third, 2 * third), ...invoices(2 * third + 1, last - 1)])
      await Promise.all([app().start(), app().start()])
      await client.send(invoices(1, last))
      const isHandled = () => keys.every((key) => world.handled()[key]?.includes(last))
      await eventually('the last of each key is handled', isHandled, withinMs)
      expect(world.handled()).toEqual(whole(keys, last))
      await eventually('the unfit are parked', () => parkedIn(world.path, 'billing')[0]?.waiting === 1, withinMs)
      expect(parkedIn(world.path, 'billing').map(({ key }) => key)).toEqual(['sick'])
      await eventually('poison is refused', () => world.watch.refused.size >= poison.length, withinMs)
      expect([...world.watch.refused.keys()].toSorted()).toEqual(poison.map(idOf).toSorted())
    })

    test('a channel of its own has to be there, serves two, and stays as it is', {
      timeout: 2 * withinMs,
    }, async () => {
      const broker = await start()
      onTestFinished(() => broker[Symbol.asyncDispose]())
      const client = await foreignClients[name](broker.url, own)
      onTestFinished(() => client[Symbol.asyncDispose]())
      const world = await foreignWorld(await transports[name](broker.url))
      const crm = 'urn:acme:crm'
      const foreign = { erp: { ...producer, channel: own }, crm: { ...producer, sources: [crm], channel: own } }
      const warnings: string[] = []
      const app = world.app({ carried: { foreign }, onWarning: (_, error) => warnings.push(String(error)) })

      const before = await planTopology(app)
      const [required, ...ours] = before.steps
      expect(required).toMatchObject({ action: 'missing', name: own, details: ["not pabal's to make"] })
      expect(new Set(ours.map(({ action }) => action))).toEqual(new Set(['create']))
      const isMissing = `the ${required!.kind} ${own} is missing (not pabal's to make)`
      await expect(applyTopology(app)).rejects.toMatchObject({
        code: 'PABAL_TRANSPORT_INVALID',
        message: expect.stringContaining(isMissing),
      })
      await app.start()
      await eventually('it is said to be missing', () => warnings.length > 0)
      expect(new Set(warnings.map((warning) => warning.includes(isMissing)))).toEqual(new Set([true]))
      expect(await planTopology(app)).toEqual(before)

      await client.make()
      await eventually('what is ours is there', async () => (await planTopology(app)).steps.length === 0, withinMs)
      await client.send([invoice('a', 1), invoice('b', 1, { source: crm }), invoice('a', 2)])
      await eventually('all are handled', () => Object.values(world.handled()).flat().length === 3, withinMs)
      expect(world.handled()).toEqual({ a: [1, 2], b: [1] })
      await eventually('each has had all', () => world.watch.taken >= 6, withinMs)
      expect(world.watch.refused).toEqual(new Map())
      await app.stop()

      const made = await client.look()
      const { removals } = await destroyTopology(app)
      expect(removals.filter(({ action }) => action === 'keep')).toMatchObject([
        { kind: required!.kind, name: own, details: ["not pabal's"] },
      ])
      expect(await client.look()).toEqual(made)
      await eventually('what is ours is gone', async () => {
        const { steps } = await planTopology(app)
        return JSON.stringify(steps) === JSON.stringify(ours)
      })
    })
  })
})
