/** The RabbitMQ transport as its tests open it: each time as a process of its own, also over a link that can be broken. */

import { connect } from 'amqplib'
import { onTestFinished } from 'vitest'
import { systemEnvironment } from '../../src/core/environment.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { rabbitmqTransport, type RabbitTransportOptions } from '../../src/exchange/rabbitmq/transport.ts'
import type { OpenTransport, Outgoing, Taken, Take } from '../../src/exchange/transport.ts'
import type { Broker } from '../../tools/servers/broker.ts'
import { rawText } from './postgres-wire.ts'
import { onRabbit } from './rabbitmq-tools.ts'
import { type FaultProxy, faultProxy } from './tcp-fault.ts'

export interface Opened {
  readonly open: OpenTransport
  readonly warnings: string[]
}

export interface RabbitTools {
  /** What a test puts before its names: the broker is shared. */
  readonly nextPrefix: () => string
  /** Over `url` unless it is the broker's own. */
  readonly opened: (
    prefix: string,
    options?: Partial<RabbitTransportOptions> & { readonly url?: string },
  ) => Promise<Opened>
  /** A link of its own, with a heartbeat of so many seconds. */
  readonly proxied: (heartbeat: number) => Promise<{ readonly proxy: FaultProxy; readonly url: string }>
  readonly countIn: (queue: string) => Promise<number>
}

/** `broker` is asked for when it is needed. */
export const rabbitTools = (broker: () => Broker): RabbitTools => {
  let tests = 0
  return {
    nextPrefix: () => `t${++tests}.`,
    opened: async (prefix, { url = broker().url, ...options } = {}) => {
      const warnings: string[] = []
      const open = await rabbitmqTransport({ connect: () => connect(url), prefix, ...options }).open({
        environment: systemEnvironment,
        warn: (what, error) => warnings.push(`${what}: ${String(error)}`),
      })
      onTestFinished(() => open[Symbol.asyncDispose]())
      return { open, warnings }
    },
    proxied: async (heartbeat) => {
      const proxy = await faultProxy(broker().port, rawText)
      onTestFinished(() => proxy.close())
      return { proxy, url: `${proxy.url(broker().url)}?heartbeat=${heartbeat}` }
    },
    countIn: (queue) => onRabbit(broker(), async (raw) => (await raw.checkQueue(queue)).messageCount),
  }
}

export const channel = { context: 'ordering' }
/** Of a caller that waits for as long as it takes. */
export const signal: AbortSignal = new AbortController().signal

export const message = (key: string, n: number, text = `{"n":${n}}`): Outgoing => ({
  key,
  id: `${key}-${n}`,
  event: {
    attributes: new Map([
      ['specversion', '1.0'],
      ['id', `${key}-${n}`],
      ['source', 'urn:pabal:ordering'],
      ['type', 'shop.order-placed.v1'],
      ['subject', key],
    ]),
    data: text,
  },
})
export const messages = (key: string, from: number, to: number): Outgoing[] =>
  Array.from({ length: to - from + 1 }, (_, i) => message(key, from + i))

export const idsOf = (of: readonly Outgoing[]): string[] => of.map(({ id }) => id)

/** Puts the ids of what comes into `ids`, in order. */
export const collecting = (ids: string[]): Take => {
  return async (batch) =>
    batch.map((each): Taken => {
      ids.push(String(each.decode(defaultLimits).attributes.get('id')))
      return undefined
    })
}
