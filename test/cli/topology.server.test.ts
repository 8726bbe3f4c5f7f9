/** What an app needs on its broker from the command line: planned, made, removed, and written for Terraform. */

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Broker } from '../../tools/servers/broker.ts'
import { type CarriedShop, createCarriedShop } from '../support/carried-shop.ts'
import { type OperatedFolder, operatedFolder } from '../support/cli.ts'
import { eventually } from '../support/eventually.ts'
import { place, realOrders } from '../support/operated-shop.ts'
import { titled } from '../support/require-server.ts'
import { missingSnsSqs, startSnsSqs } from '../../tools/servers/sns-sqs.ts'

const missing = missingSnsSqs()
const program = new URL('../support/carried-shop.ts', import.meta.url).pathname

interface Steps {
  readonly transports: readonly string[]
  readonly steps: readonly { readonly action: string; readonly kind: string; readonly name: string }[]
}
const named = ({ steps }: Steps): string[] => steps.map(({ action, kind, name }) => `${action} ${kind} ${name}`)

const ofDelivery = [
  'create queue pabal-ordering-delivery-refused.fifo',
  'create queue pabal-ordering-delivery.fifo',
  'create subscription pabal-ordering-delivery.fifo to pabal-ordering.fifo',
]

describe.skipIf(missing)(titled('the topology over SNS and SQS', missing), { timeout: 180_000 }, () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startSnsSqs()
  })
  afterAll(() => broker?.[Symbol.asyncDispose]())

  const carried = async (contexts: CarriedShop['contexts'], url = broker.url) => {
    const shop = await operatedFolder()
    configure(shop, contexts, url)
    return shop
  }
  const configure = (shop: OperatedFolder, contexts: CarriedShop['contexts'], url = broker.url) =>
    shop.configure(
      `import { createCarriedShop } from ${JSON.stringify(program)}\nexport default () => createCarriedShop(import.meta.dirname, ${JSON.stringify({ url, contexts })})\n`,
    )

  test('a context that moves in beside a running one with a backlog needs exactly its own; applied, it is brought all', async () => {
    const shop = await carried(['ordering'])
    const orders = realOrders(4)
    const running = createCarriedShop(shop.folder, { url: broker.url, contexts: ['ordering'] })
    onTestFinished(() => running.stop())
    await place(running, orders)
    await running.start()
    await running.settle({ withinMs: 20_000 })
    expect((await shop.pabal(['topology', 'plan'])).out).toContain('✓ nothing to do on sns-sqs')

    configure(shop, ['delivery'])
    const planned = await shop.pabal(['topology', 'plan', '-o', 'json'])
    expect(named(planned.json())).toEqual(ofDelivery)
    const shown = await shop.pabal(['topology', 'plan', '--check'])
    expect(shown).toMatchObject({ code: 4, err: expect.stringContaining('PABAL_CHECK_FAILED') })
    expect(shown.out).toContain('create  queue         pabal-ordering-delivery.fifo')
    expect(shown.out).toContain('→ pabal topology apply')

    expect(named((await shop.pabal(['topology', 'apply', '-o', 'json'])).json())).toEqual(ofDelivery)
    expect(await shop.pabal(['topology', 'plan', '--check'])).toMatchObject({ code: 0, err: '' })
    expect((await shop.pabal(['topology', 'apply'])).out).toContain('✓ nothing to do')

    await place(running, orders)
    const handed: string[] = []
    const moved = createCarriedShop(
      shop.folder,
      { url: broker.url, contexts: ['delivery'], provision: false },
      (_, { orderId }) => handed.push(orderId),
    )
    onTestFinished(() => moved.stop())
    await moved.start()
    await eventually('the backlog and what came since', () => handed.length === orders.length * 2)
    for (const { orderId } of orders) expect(handed.filter((each) => each === orderId)).toHaveLength(2)
  })

  test('what is removed is shown first with what is lost, and nothing is removed without --yes', async () => {
    const shop = await carried(['shipping'])
    await shop.pabal(['topology', 'apply'])
    configure(shop, ['ordering'])
    const running = createCarriedShop(shop.folder, { url: broker.url, contexts: ['ordering'] })
    await place(running, realOrders(3))
    await running.settle({ withinMs: 20_000 })
    await running.stop()

    configure(shop, ['shipping'])
    const plan = await shop.pabal(['topology', 'destroy'])
    expect(plan).toMatchObject({
      code: 2,
      err: expect.stringContaining('→ pabal topology destroy --expect 3 --yes'),
    })
    expect(plan.out).toContain('3 messages would be lost for good')
    expect(plan.out).toMatch(/keep +topic +pabal-ordering\.fifo +another context's/)
    expect((await shop.pabal(['topology', 'plan'])).out).toContain('nothing to do')
    expect(await shop.pabal(['topology', 'destroy', '--expect', '2', '--yes'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('PABAL_PLAN_CHANGED'),
    })
    const done = await shop.pabal(['topology', 'destroy', '--expect', '3', '--yes', '-o', 'json'])
    expect(done.json()).toMatchObject({
      action: 'destroy',
      removals: [
        { action: 'remove', kind: 'subscription' },
        { action: 'remove', name: 'pabal-ordering-shipping.fifo', messages: 3 },
        { action: 'remove', name: 'pabal-ordering-shipping-refused.fifo' },
        { action: 'keep', kind: 'topic' },
      ],
    })
    expect(named((await shop.pabal(['topology', 'plan', '-o', 'json'])).json())).toHaveLength(3)
  })

  test('what Terraform is told has the names of what is planned, and no broker is asked', async () => {
    const producer = await carried(['ordering'], 'http://127.0.0.1:1')
    const exported = (await producer.pabal(['topology', 'export'])).json()
    expect(exported).toEqual({
      resource: { aws_sns_topic: { 'pabal-ordering': { name: 'pabal-ordering.fifo', fifo_topic: true } } },
    })

    const shop = await carried(['shipping', 'delivery'])
    expect(await shop.pabal(['topology', 'export', '--out', 'pabal.tf.json'])).toMatchObject({ code: 0 })
    const text = readFileSync(shop.file('pabal.tf.json'), 'utf8')
    await expect(text).toMatchFileSnapshot('topology.tf.json.txt')
    const again = await shop.pabal(['topology', 'export', '--out', 'pabal.tf.json'])
    expect(again.code).toBe(0)

    await using own = await startSnsSqs()
    configure(shop, ['shipping', 'delivery'], own.url)
    const made = (await shop.pabal(['topology', 'apply', '-o', 'json'])).json<Steps>()
    const { data, resource } = JSON.parse(text) as Record<string, Record<string, Record<string, { name: string }>>>
    const names = (blocks: Record<string, { name: string }> = {}) => Object.values(blocks).map(({ name }) => name)
    const madeOf = (kind: string) => made.steps.filter((step) => step.kind === kind).map(({ name }) => name)
    expect(names(data!['aws_sns_topic'])).toEqual(madeOf('topic'))
    expect(names(resource!['aws_sqs_queue']).toSorted()).toEqual(madeOf('queue').toSorted())
    expect(Object.keys(resource!['aws_sns_topic_subscription']!)).toHaveLength(madeOf('subscription').length)

    configure(shop, ['shipping'])
    expect(await shop.pabal(['topology', 'export', '--out', 'pabal.tf.json'])).toMatchObject({
      code: 2,
      out: expect.stringContaining('would replace pabal.tf.json'),
    })
    expect(readFileSync(shop.file('pabal.tf.json'), 'utf8')).toBe(text)
  })

  test('a broker that is not there is exit code 3, and an app without one has nothing to do', async () => {
    const away = await carried(['shipping'], 'http://127.0.0.1:1')
    expect(await away.pabal(['topology', 'plan'])).toMatchObject({
      code: 3,
      err: expect.stringContaining('PABAL_TRANSPORT_UNREACHABLE'),
    })
    const shop = await operatedFolder()
    expect((await shop.pabal(['topology', 'plan'])).out).toContain('✓ nothing goes over a broker')
    expect((await shop.pabal(['topology', 'destroy'])).out).toContain('✓ nothing to remove')
    expect(await shop.pabal(['topology', 'export'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('nothing of this app goes over a broker'),
    })
  })
})
