/** What a person sees of messages to other contexts: who has sent one, who has it, and how many wait. */

import { over } from 'pabal'
import { kind, NastyBroker } from 'pabal/testing'
import { expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import { testApp } from '../../test/support/shop.ts'
import {
  handled,
  notification,
  ordering,
  receiver,
  send,
  sender,
  sentBy,
  sentInAll,
  SendSms,
} from '../../test/support/sms.ts'
import { pause, resume } from './consumers.ts'
import { consumerNamed, operate } from './operated.ts'
import { planReset } from './reset.ts'
import { statusOf } from './status.ts'
import { traceOf } from './trace.ts'

const kim = { by: 'kim' }

test('in one process: the trace shows it where it was sent, and who has handled it', async () => {
  const folder = await testFolder()
  const app = testApp([sender(folder, ordering), receiver(folder)])
  await send(app, ordering, 0, 1)
  await app.settle({ withinMs: 10_000 })
  const [sms] = sentBy(folder, ordering)
  const { roots } = await traceOf(await operate(app), sms!.id, { whole: true })
  expect(roots.flatMap(({ events }) => events)).toMatchObject([
    { context: 'ordering', type: 'ordering.order-placed', deliveries: [] },
    {
      context: 'ordering',
      type: SendSms.type,
      deliveries: [{ context: 'notification', consumer: 'send-sms', state: 'handled' }],
    },
  ])
})

test('over a transport: what waits is counted once, by who has sent it', async () => {
  const folder = await testFolder()
  const { transport } = new NastyBroker({ random: Math.random, faults: kind })
  const sending = testApp([sender(folder, ordering)], { exchange: over(transport) })
  const receiving = testApp([receiver(folder)], { exchange: over(transport, { from: { ordering: [SendSms] } }) })
  await Promise.all([sending.start(), receiving.start()])
  await send(sending, ordering, 0, 3)
  await eventually('they are handled', () => handled(folder) === 3)
  const operated = await operate(receiving)
  const address = await consumerNamed(operated, 'send-sms')
  await pause(operated, address, kim)
  await send(sending, ordering, 4, 7)
  await receiving.context(notification).transaction(({ post }) => post(SendSms, { to: 'own', n: 0 }))
  const behind = async () => {
    const { contexts } = await statusOf(operated)
    return contexts[0]!.consumers.map(({ source, lagEvents }) => [source, lagEvents])
  }
  const waiting = [
    ['notification', 1],
    ['received/ordering', 3],
  ]
  await eventually('they wait', async () => (await behind())[1]![1] === 3)
  expect(await behind()).toEqual(waiting)
  expect((await planReset(address, 'now')).leftOut).toBe(4)
  await resume(operated, address, kim)
  await eventually('they are handled', () => handled(folder) === sentInAll(folder, [ordering]) + 1)
  expect((await planReset(address, 'beginning')).again).toBe(7)

  const [sms] = sentBy(folder, ordering)
  const { roots } = await traceOf(operated, sms!.id)
  expect(roots[0]!.events).toMatchObject([
    { type: SendSms.type, deliveries: [{ consumer: 'send-sms', state: 'handled' }] },
  ])
})
