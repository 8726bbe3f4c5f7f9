/** NATS JetStream by its own client: 256 publishes under way at once; a pull consumer, acknowledging all up to a message. */

import { AckPolicy, jetstream, jetstreamManager, type JsMsg } from '@nats-io/jetstream'
import { connect, headers as makeHeaders } from '@nats-io/transport-node'
import { nats as binding } from '../../src/event/cloudevents/binding.ts'
import { toMessage } from '../../src/event/cloudevents/message.ts'
import { nats as exchange } from '../../src/exchange/nats/index.ts'
import { subjectOf } from '../../src/exchange/nats/names.ts'
import { type Client, Inbox } from './client.ts'
import { context } from './names.ts'

const underWay = 256

export const nats = (url: string): Client => ({
  transport: (prefix) =>
    exchange({ connect: () => connect({ servers: url }), jetstream, headers: makeHeaders, prefix })['~pabal']
      .carried[0]!.transport,
  publisher: async (prefix, messages) => {
    const connection = await connect({ servers: url })
    const client = jetstream(connection)
    const all = messages.map(({ id, event }) => {
      const { headers, body } = toMessage(event, binding, 'binary')
      const made = makeHeaders()
      for (const [name, value] of Object.entries(headers)) made.append(name, value)
      const subject = subjectOf(prefix, { context }, String(event.attributes.get('type')))
      return { subject, body: body ?? '', options: { msgID: id, headers: made } }
    })
    return {
      publish: async (from, count) => {
        for (let at = from; at < from + count; at += underWay)
          await Promise.all(
            all
              .slice(at, Math.min(at + underWay, from + count))
              .map(({ subject, body, options }) => client.publish(subject, body, options)),
          )
      },
      [Symbol.asyncDispose]: () => connection.close(),
    }
  },
  consume: async (prefix, take) => {
    const connection = await connect({ servers: url })
    const manager = await jetstreamManager(connection)
    const stream = `${prefix}-${context}`
    const name = `${prefix}-raw`
    await manager.consumers.add(stream, { durable_name: name, ack_policy: AckPolicy.All, max_ack_pending: 10_000 })
    const messages = await (await jetstream(connection).consumers.get(stream, name)).consume({ max_messages: 500 })
    const inbox = new Inbox<JsMsg>(async (batch) => {
      await take(batch.map((message) => message.string()))
      batch.at(-1)!.ack()
    })
    const running = (async () => {
      for await (const message of messages) inbox.add(message)
    })()
    return {
      [Symbol.asyncDispose]: async () => {
        messages.stop()
        await running
        await inbox.idle()
        await connection.close()
      },
    }
  },
})
