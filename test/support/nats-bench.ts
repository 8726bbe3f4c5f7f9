/** What the tests of the NATS transport share: transports as users make them, messages, and a client that looks from outside. */

import { randomUUID } from 'node:crypto'
import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import { connect, type ConnectionOptions, headers, type NatsConnection } from '@nats-io/transport-node'
import { onTestFinished } from 'vitest'
import { systemEnvironment } from '../../src/core/environment.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import type { CloudEvent } from '../../src/event/cloudevents/cloud-event.ts'
import { nats, type NatsOptions } from '../../src/exchange/nats/index.ts'
import type { Incoming, OpenTransport, Outgoing, Taken, Transport } from '../../src/exchange/transport.ts'

export type Given = Partial<NatsOptions<NatsConnection>> & { readonly client?: ConnectionOptions }

/** As a user makes it, over a server at that address. */
export const natsAt = (url: string, { client, ...options }: Given = {}): Transport =>
  nats({ connect: () => connect({ servers: url, ...client }), jetstream, headers, ...options })['~pabal'].carried[0]!
    .transport

/** Open until the test ends. */
export const opened = async (
  transport: Transport,
  warn: (what: string, error: unknown) => void = () => {},
): Promise<OpenTransport> => {
  const open = await transport.open({ environment: systemEnvironment, warn })
  onTestFinished(() => open[Symbol.asyncDispose]())
  return open
}

export interface Outsider {
  readonly connection: NatsConnection
  readonly manager: JetStreamManager
}

/** Another client, until the test ends. */
export const outsider = async (url: string, options: ConnectionOptions = {}): Promise<Outsider> => {
  const connection = await connect({ servers: url, ...options })
  onTestFinished(() => connection.close())
  return { connection, manager: await jetstreamManager(connection) }
}

export const channel = { context: 'ordering' }

let prefixes = 0
/** Names that no other test uses. */
export const newPrefix = (): string => `t${process.pid}-${++prefixes}`

export const message = (key: string, n: number): Outgoing => {
  const id = randomUUID()
  const attributes = new Map<string, string | number>([
    ['specversion', '1.0'],
    ['id', id],
    ['source', 'urn:pabal:ordering'],
    ['type', 'shop.order-placed.v1'],
    ['datacontenttype', 'application/json'],
    ['subject', key],
    ['partitionkey', key],
    ['streamversion', String(n)],
  ])
  return { key, id, event: { attributes, data: `{"n":${n}}` } }
}

export const messages = (key: string, from: number, to: number): Outgoing[] =>
  Array.from({ length: to - from + 1 }, (_, i) => message(key, from + i))

/** Takes what comes, in the order in which it comes, whoever of several brings it. */
export class Taker {
  readonly events: CloudEvent[] = []
  /** Names who brought each. */
  readonly by: string[] = []
  refuses: (event: CloudEvent) => boolean = () => false
  before: () => Promise<unknown> = () => Promise.resolve()

  readonly takeAs =
    (name: string) =>
    async (batch: readonly Incoming[]): Promise<readonly Taken[]> => {
      await this.before()
      return batch.map((incoming): Taken => {
        try {
          const event = incoming.decode(defaultLimits)
          if (this.refuses(event)) return { refused: new Error('이건 아니다') }
          this.events.push(event)
          this.by.push(name)
          return undefined
        } catch (error) {
          return { refused: error as Error }
        }
      })
    }
  readonly take = this.takeAs('the only one')

  /** First appearances of a key's numbers. */
  numbersOf(key: string): number[] {
    const all = this.events.filter(({ attributes }) => attributes.get('subject') === key)
    return [...new Set(all.map(({ attributes }) => Number(attributes.get('streamversion'))))]
  }

  /** Different events. */
  get count(): number {
    return new Set(this.events.map(({ attributes }) => attributes.get('id'))).size
  }
}
