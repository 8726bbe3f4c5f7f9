/** What an app needs on a broker: one table for all transports, each against its real server (SNS and SQS: emulated). */

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Broker } from '../../tools/servers/broker.ts'
import { eventually } from '../../test/support/eventually.ts'
import { titled } from '../../test/support/require-server.ts'
import { brokers, type TopologyBroker } from '../../test/support/topology-brokers.ts'
import { systemEnvironment } from '../core/environment.ts'
import { defaultLimits } from '../core/limits.ts'
import type { Resource } from './resource.ts'
import { applyRemovals, applySteps, planRemovals, planSteps, type Removal, type Step } from './topology.ts'
import type { Needs, OpenTransport, Outgoing } from './transport.ts'

const ordering = { context: 'ordering' }
const receivedBy = (subscriber: string): Needs => ({ publishes: [], receives: [{ channel: ordering, subscriber }] })
const producer: Needs = { publishes: [ordering], receives: [] }

const message = (n: number): Outgoing => ({
  key: 'a',
  id: `a-${n}`,
  event: {
    attributes: new Map([
      ['specversion', '1.0'],
      ['id', `a-${n}`],
      ['source', 'urn:pabal:ordering'],
      ['type', 'shop.order-placed.v1'],
      ['subject', 'a'],
      ['datacontenttype', 'application/json'],
    ]),
    data: `{"n":${n}}`,
  },
})

const named = (of: readonly (Step | Removal)[]): string[] =>
  of.map(({ action, kind, name }) => `${action} ${kind} ${name}`)
const creating = (prefix: string, names: readonly string[]): string[] =>
  names.map((name) => `create ${name.replaceAll('$', prefix)}`)

let prefixes = 0

describe.each(brokers)('$name', (of: TopologyBroker) => {
  describe.skipIf(of.missing)(titled('what an app needs there', of.missing), { timeout: 180_000 }, () => {
    let broker: Broker
    beforeAll(async () => {
      if (of.missing === undefined) broker = await of.start()
    }, 120_000)
    afterAll(() => broker?.[Symbol.asyncDispose]())

    /** Names of a test's own, on a broker that others use. */
    const bench = async () => {
      const prefix = of.prefix(++prefixes)
      const open = async (provision = true): Promise<OpenTransport> => {
        const opened = await of
          .transport(broker, prefix, provision)
          .open({ environment: systemEnvironment, warn: () => {} })
        onTestFinished(() => opened[Symbol.asyncDispose]())
        return opened
      }
      const opened = await open()
      const resources = (needs: Needs): readonly Resource[] => opened.resources!(needs)
      return {
        prefix,
        open,
        resources,
        plan: async (needs: Needs) => named(await planSteps(resources(needs))),
        apply: async (needs: Needs) => named(await applySteps(of.name, resources(needs))),
        removals: async (needs: Needs) => named(await planRemovals(resources(needs))),
        destroy: async (needs: Needs) => named(await applyRemovals(resources(needs))),
        standing: async () => (await of.standing(broker)).filter((name) => name.includes(prefix)).toSorted(),
      }
    }

    test('a plan says what is missing and makes nothing; applied, nothing is left to do, and again nothing is done', async () => {
      const { prefix, plan, apply, standing } = await bench()
      expect(await plan(producer)).toEqual(creating(prefix, of.ofChannel))
      expect(await plan(receivedBy('shipping'))).toEqual(
        creating(prefix, [...of.ofChannel, ...of.ofSubscriber('shipping')]),
      )
      expect(await standing()).toEqual([])
      expect(await apply(producer)).toEqual(creating(prefix, of.ofChannel))
      expect(await plan(producer)).toEqual([])
      expect(await apply(receivedBy('shipping'))).toEqual(creating(prefix, of.ofSubscriber('shipping')))
      const made = await standing()
      expect(made).not.toEqual([])
      for (const needs of [producer, receivedBy('shipping')]) {
        expect(await plan(needs)).toEqual([])
        expect(await apply(needs)).toEqual([])
      }
      expect(await standing()).toEqual(made)
    })

    test('who comes later needs exactly its own, and what is applied is all that a transport needs which may make nothing', async () => {
      const { prefix, open, plan, apply, standing } = await bench()
      await apply(producer)
      await apply(receivedBy('shipping'))
      const sending = await open(false)
      expect(await sending.publish(ordering, [message(1)], AbortSignal.timeout(20_000))).toEqual([undefined])
      expect(await plan(receivedBy('delivery'))).toEqual(creating(prefix, of.ofSubscriber('delivery')))
      await apply(receivedBy('delivery'))
      expect(await plan(receivedBy('delivery'))).toEqual([])
      const made = await standing()
      expect(await sending.publish(ordering, [message(2)], AbortSignal.timeout(20_000))).toEqual([undefined])
      const came = new Set<string>()
      const receiving = await (await open(false)).receive(ordering, 'delivery', async (batch) =>
        batch.map((each) => {
          came.add(String(each.decode(defaultLimits).attributes.get('id')))
          return undefined
        }),
      )
      onTestFinished(() => receiving[Symbol.asyncDispose]())
      await eventually('what was published since has come', () => came.has('a-2'))
      expect((await standing()).filter((name) => !made.includes(name) && !of.comesByItself.test(name))).toEqual([])
    })

    // Where the channel itself keeps things, they wait there.
    test.for(
      of.keeps === 'queues' && !of.forOne ? ['who sends messages makes what they wait in, and leaves it there'] : [],
    )('%s', async () => {
      const { prefix, open, apply, plan, destroy, standing } = await bench()
      const sender: Needs = { publishes: [{ ...ordering, receivers: ['shipping'] }], receives: [] }
      expect(await plan(sender)).toEqual(creating(prefix, [...of.ofChannel, ...of.ofSubscriber('shipping')]))
      expect(await (await open()).publish(sender.publishes[0]!, [message(1)], AbortSignal.timeout(20_000))).toEqual([
        undefined,
      ])
      for (const needs of [sender, receivedBy('shipping')]) expect(await plan(needs)).toEqual([])
      const made = await standing()
      const kept = await destroy(sender)
      expect(kept).not.toEqual([])
      expect(kept.filter((each) => !each.startsWith('keep'))).toEqual([])
      expect(await standing()).toEqual(made)
      expect(await apply(sender)).toEqual([])
      const came: string[] = []
      const receiving = await (await open(false)).receive(ordering, 'shipping', async (batch) =>
        batch.map((each) => void came.push(String(each.decode(defaultLimits).attributes.get('id')))),
      )
      onTestFinished(() => receiving[Symbol.asyncDispose]())
      await eventually('it has waited', () => came.includes('a-1'))
    })

    test('with provision: false all that is missing is named, and nothing is made', async () => {
      const { prefix, open, standing } = await bench()
      const fixed = await open(false)
      const missing = (await fixed
        .receive(ordering, 'shipping', async () => [])
        .catch((error: unknown) => error)) as Error
      expect(missing).toMatchObject({ code: 'PABAL_TRANSPORT_INVALID' })
      for (const name of [...of.ofChannel, ...of.ofSubscriber('shipping')])
        expect(missing.message).toContain(`${name.replaceAll('$', prefix)} is missing`)
      await expect(fixed.publish(ordering, [message(1)], AbortSignal.timeout(20_000))).rejects.toMatchObject({
        code: 'PABAL_TRANSPORT_INVALID',
      })
      expect(await standing()).toEqual([])
    })

    test.each(of.drifts)(
      '$what is shown as $action, and then $outcome',
      async ({ needs, change, action, detail, outcome }) => {
        const { prefix, resources, plan } = await bench()
        const all = needs === 'producer' ? producer : receivedBy('shipping')
        await applySteps(of.name, resources(all))
        await change(broker, prefix)
        // A broker may take a moment to know it itself, and still know the state before.
        const steps = await eventually('the plan shows it', async () => {
          const found = await planSteps(resources(all))
          return found.some((step) => step.action === action) && found
        })
        expect(steps).toMatchObject([{ action }])
        expect(steps[0]!.details.join()).toMatch(detail)
        if (outcome === 'mended') {
          expect(await applySteps(of.name, resources(all))).toEqual(steps)
          expect(await plan(all)).toEqual([])
        } else if (outcome === 'left as it is') {
          expect(await applySteps(of.name, resources(all))).toEqual([])
          expect(await planSteps(resources(all))).toEqual(steps)
        } else
          await expect(applySteps(of.name, resources(all))).rejects.toMatchObject({
            code: 'PABAL_TRANSPORT_INVALID',
            message: expect.stringMatching(detail),
          })
      },
    )

    // What is of a single subscriber goes with it: `sqs.server.test.ts`.
    test.for(
      of.forOne ? [] : ['removed is only what nobody else uses, and how many messages go with it is said before'],
    )('%s', async () => {
      const { prefix, open, apply, plan, resources, removals, destroy, standing } = await bench()
      for (const needs of [producer, receivedBy('shipping')]) await apply(needs)
      const shared = await standing()
      await apply(receivedBy('delivery'))
      const sent = [1, 2, 3].map(message)
      await (await open()).publish(ordering, sent, AbortSignal.timeout(20_000))

      const waitsWith = of.keeps === 'queues' ? receivedBy('delivery') : producer
      const waiting = async () =>
        (await planRemovals(resources(waitsWith))).reduce((sum, { messages }) => sum + messages, 0)
      await eventually('they wait', async () => (await waiting()) === sent.length)
      if (of.keeps === 'queues')
        await expect(applyRemovals(resources(waitsWith), sent.length - 1)).rejects.toMatchObject({
          code: 'PABAL_PLAN_CHANGED',
        })
      const planned = await removals(receivedBy('delivery'))
      expect(planned.filter((each) => each.startsWith('keep'))).toEqual(
        of.ofChannel.map((name) => `keep ${name.replaceAll('$', prefix)}`),
      )
      expect(await destroy(receivedBy('delivery'))).toEqual(planned)
      expect(await standing()).toEqual(shared)
      expect(await plan(receivedBy('shipping'))).toEqual([])

      const kept = of.ofChannel.map((name) => `keep ${name.replaceAll('$', prefix)}`)
      if (of.namesUsers) expect(await removals(producer)).toEqual(kept)
      expect(await destroy(producer)).toEqual(kept)
      expect(await standing()).toEqual(shared)
      await destroy(receivedBy('shipping'))
      await eventually('nobody uses it', async () =>
        (await removals(producer)).every((each) => each.startsWith('remove')),
      )
      await destroy(producer)
      await eventually('nothing is left', async () => (await standing()).length === 0)
      expect(await destroy(producer)).toEqual([])
    })
  })
})
