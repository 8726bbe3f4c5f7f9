/**
 * A process that dies too early, as soon as somebody kills it: `send` has published and not moved its cursor, `receive` has taken
 * what it does not acknowledge. `<send | receive> <folder> <transport> <url> <apart>`.
 */

import { createApp, type Transport } from 'pabal'
import { defaultLimits } from '../../src/core/limits.ts'
import { isMessageTransport, messageTransports } from '../guarantees/exchange/transports.ts'
import { ordering, receiver, sender, SendSms, smsOver } from './sms.ts'

const [role, folder = '', name = '', url = '', apart] = process.argv.slice(2)
if (!isMessageTransport(name)) throw new Error(`there is no transport ${name}`)
const transport = await messageTransports[name](url)

const never = (line: string): Promise<never> => {
  console.log(line)
  return new Promise(() => {})
}

const silent: Transport = {
  ...transport,
  open: async (options) => {
    const open = await transport.open(options)
    return {
      publish: async (...given) => {
        await open.publish(...given)
        return never('published')
      },
      receive: (channel, subscriber, take) =>
        open.receive(channel, subscriber, async (batch) => {
          const taken = await take(batch)
          const types = batch.map((incoming) => incoming.decode(defaultLimits).attributes.get('type'))
          return types.includes(SendSms.type) ? never('taken') : taken
        }),
      [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
    }
  },
}

const contexts = [role === 'send' ? sender(folder, ordering) : receiver(folder)]
await createApp({ leaseMs: 1_000, contexts, exchange: smsOver(silent, role!, apart === 'true') }).start()
