/** Takes text messages over SQS, says so, and never acknowledges them: `<folder> <endpoint> <prefix>`. */

import { createApp, inProcess, over, routes, type Transport } from 'pabal'
import { sqsTransport } from 'pabal/sns-sqs'
import { awsClients } from './aws-clients.ts'
import { receiver, SendSms } from './sms.ts'

const [folder = '', endpoint = '', prefix = ''] = process.argv.slice(2)
const { sqs } = awsClients(endpoint)
const transport = sqsTransport({ sqs, prefix, waitMs: 1_000, visibilityMs: 3_000 })

const silent: Transport = {
  ...transport,
  open: async (options) => {
    const open = await transport.open(options)
    return {
      ...open,
      receive: (channel, subscriber, take) =>
        open.receive(channel, subscriber, async (batch) => {
          await take(batch)
          console.log('taken')
          return new Promise(() => {})
        }),
    }
  },
}

const from = { ordering: [SendSms], wholesale: [SendSms] }
const app = createApp({
  leaseMs: 1_000,
  contexts: [receiver(folder)],
  exchange: routes(inProcess(), { stream: 'sms', events: [SendSms], over: over(silent, { from }) }),
})
await app.start()
