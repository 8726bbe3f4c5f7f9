/** SQS alone and SNS alone as exchanges: what they are refused for when an app is composed, before anything is asked of AWS. */

import { createApp, inProcess, over, routes } from 'pabal'
import { sns, snsTransport, sqs } from 'pabal/sns-sqs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { awsClients } from '../../../test/support/aws-clients.ts'
import { withCode } from '../../../test/support/shop.ts'
import { ordering, receiver, sender, SendSms, wholesale } from '../../../test/support/sms.ts'

const clients = () => {
  const both = awsClients('http://127.0.0.1:1')
  onTestFinished(() => both[Symbol.dispose]())
  return both
}
const refused = (message: RegExp) => withCode('PABAL_COMPOSITION_INVALID', message)
const folder = '/nonexistent'

describe('over SQS alone', () => {
  test('public events are refused, of whoever publishes or receives them', () => {
    const { sqs: client } = clients()
    const toQueue = refused(/an event is published, not sent to a queue/)
    expect(() => createApp({ contexts: [sender(folder, ordering)], exchange: sqs({ sqs: client }) })).toThrow(toQueue)
    const from = { ordering: [ordering.PlacedV1] }
    expect(() => createApp({ contexts: [receiver(folder)], exchange: sqs({ sqs: client, from }) })).toThrow(toQueue)
  })

  test('nothing of a foreign producer comes, over a queue of ours or of its own', () => {
    const { sqs: client } = clients()
    const erp = { sources: ['urn:acme:erp'], events: [ordering.PlacedV1] }
    const contexts = [receiver(folder)]
    expect(() => createApp({ contexts, exchange: sqs({ sqs: client, foreign: { erp } }) })).toThrow(
      refused(/an event is published, not sent to a queue/),
    )
    expect(() => sqs({ sqs: client, foreign: { erp: { ...erp, channel: 'erp-orders.fifo' } } })).toThrow(
      refused(/over sqs the channel .*'erp' cannot be "erp-orders.fifo": only channels that pabal names/),
    )
  })

  test('messages go, in a route of their own', () => {
    const { sqs: client } = clients()
    const alone = (from = {}) =>
      routes(inProcess(), { stream: 'sms', events: [SendSms], over: sqs({ sqs: client, from }) })
    createApp({ contexts: [sender(folder, ordering), sender(folder, wholesale)], exchange: alone() })
    createApp({ contexts: [receiver(folder)], exchange: alone({ ordering: [SendSms] }) })
  })

  test.each([
    [{ sqs: {} }, 'new SQS'],
    [{ waitMs: 500 }, 'waitMs'],
    [{ prefix: 'a.b' }, 'prefix'],
  ])('options are checked: %j', (options, named) => {
    const { sqs: client } = clients()
    expect(() => sqs({ sqs: client, ...(options as object) })).toThrow(refused(new RegExp(named)))
  })
})

describe('over SNS alone', () => {
  test('nothing is received, and no message is sent', () => {
    const { sns: client } = clients()
    const from = { ordering: [ordering.PlacedV1] }
    const receiving = over(snsTransport({ sns: client }), { from })
    expect(() => createApp({ contexts: [receiver(folder)], exchange: receiving })).toThrow(
      refused(/nothing is received over sns/),
    )
    expect(() => createApp({ contexts: [sender(folder, ordering)], exchange: sns({ sns: client }) })).toThrow(
      refused(/notification\.send-sms of 'ordering' cannot go over sns/),
    )
    // @ts-expect-error what would come
    void (() => sns({ sns: client, from }))
  })

  test('public events go, in a route of their own or with all that is handled here', () => {
    const { sns: client } = clients()
    const events = [ordering.PlacedV1]
    createApp({
      contexts: [sender(folder, ordering)],
      exchange: routes(inProcess(), { stream: 'placed', events, over: sns({ sns: client }) }),
    })
    createApp({ contexts: [sender(folder, ordering), receiver(folder)], exchange: sns({ sns: client }) })
  })

  test.each([
    [{ sns: {} }, 'new SNS'],
    [{ inFlight: 0 }, 'inFlight'],
  ])('options are checked: %j', (options, named) => {
    const { sns: client } = clients()
    expect(() => sns({ sns: client, ...(options as object) })).toThrow(refused(new RegExp(named)))
  })
})
