/**
 * A broker in memory that does all that brokers do to their users, by chance and a seed: it repeats messages, delays and reorders
 * them as far as its traits allow, loses acknowledgements, accepts half of a batch, and loses messages where it may.
 */

import { randomUUID } from 'node:crypto'
import type { Environment } from '../core/environment.ts'
import type { Attributes } from '../event/cloudevents/cloud-event.ts'
import { kafka, nats } from '../event/cloudevents/binding.ts'
import { fromMessage, type Message, toMessage } from '../event/cloudevents/message.ts'
import type { Binding } from '../event/cloudevents/binding.ts'
import {
  type Channel,
  type Incoming,
  type OpenTransport,
  type Outgoing,
  type Published,
  type Receiving,
  type Refused,
  type Selection,
  type Take,
  tooLarge,
  type Traits,
  type Transport,
  type TransportOptions,
} from '../exchange/transport.ts'

export interface Nastiness {
  /** Chances from 0 to 1, of each message or batch. */
  readonly duplicates: number
  /** A batch that was taken is delivered again, as if its acknowledgement had been lost. */
  readonly lostAcks: number
  /** A publish is refused from some message on, or for some keys; what stands behind may be accepted all the same. */
  readonly partialFailures: number
  /** A publish is accepted, and nobody is told. */
  readonly lostConfirms: number
  /** Only where delivery is at-most-once. */
  readonly lost: number
  readonly delayMsMax: number
}

export const nasty: Nastiness = {
  duplicates: 0.1,
  lostAcks: 0.1,
  partialFailures: 0.15,
  lostConfirms: 0.1,
  lost: 0.05,
  delayMsMax: 3,
}
export const kind: Nastiness = {
  duplicates: 0,
  lostAcks: 0,
  partialFailures: 0,
  lostConfirms: 0,
  lost: 0,
  delayMsMax: 0,
}

export interface NastyOptions {
  readonly random: () => number
  readonly traits?: Partial<Traits>
  readonly faults?: Nastiness
  /** It keeps back what a subscriber's selection leaves out. Default false. */
  readonly selects?: boolean
}

interface Held {
  readonly key: string
  /** Of the CloudEvent, as far as they are known. */
  readonly attributes?: Attributes
  readonly message: Message
  readonly binding: Binding
}

/** Messages of one subscriber, shared by its processes. */
class Queue {
  readonly messages: Held[] = []
  /** With the reason. */
  refused: (Refused & { readonly reason: string })[] = []
  /** Undefined: all is wanted. It is of effect for what comes from now on. */
  selection: Selection | undefined
  #wake: (() => void) | undefined

  add(messages: readonly Held[]): void {
    this.messages.push(...messages.filter(({ attributes }) => isWanted(attributes, this.selection)))
    this.#wake?.()
  }

  refuse(held: Held, { message: reason }: Error): void {
    this.refused.push({ id: randomUUID(), reason, incoming: incoming(held), body: held.message.body })
  }

  async judge(limit: number, judge: (refused: Refused) => Promise<boolean>): Promise<void> {
    for (const refused of this.refused.slice(0, limit))
      if (await judge(refused)) this.refused = this.refused.filter((other) => other !== refused)
  }

  /** Resolves when something is there, or after a while. */
  async filled(environment: Environment, ended: AbortSignal): Promise<void> {
    if (this.messages.length > 0) return
    const awake = new AbortController()
    this.#wake = () => awake.abort()
    await environment.sleep(50, AbortSignal.any([awake.signal, ended]))
  }
}

interface Subscribed {
  readonly channel: Channel
  readonly subscriber: string
  readonly queue: Queue
  readonly take: Take
}

const isWanted = (attributes: Attributes | undefined, selection: Selection = {}): boolean =>
  Object.entries(selection).every(([name, values]) => {
    const value = attributes?.get(name)
    return value === undefined || values.includes(String(value))
  })

const nameOf = ({ context, name }: Channel): string => name ?? context

/** Named after the context, also where the channel is a foreign producer's own. */
const queueNameOf = ({ context }: Channel, subscriber: string): string => `${context}.${subscriber}`

const perBatch = 100

/** The broker. It outlives the processes that connect to it through `transport`. */
export class NastyBroker {
  readonly #random: () => number
  readonly #traits: Traits
  readonly #selects: boolean
  #faults: Nastiness
  readonly #kept = new Map<string, Held[]>()
  readonly #queues = new Map<string, Map<string, Queue>>()
  #down = false

  constructor({ random, traits, faults = nasty, selects = false }: NastyOptions) {
    this.#random = random
    this.#selects = selects
    this.#traits = { ordered: false, delivery: 'at-least-once', messageBytes: 1_048_576, ...traits }
    this.#faults = faults
  }

  /** From now on it behaves so. */
  set faults(faults: Nastiness) {
    this.#faults = faults
  }

  /** Nothing is accepted and nothing delivered while it is down. */
  set down(down: boolean) {
    this.#down = down
  }

  /** Messages that nobody has taken yet. */
  get waiting(): number {
    return [...this.#queues.values()]
      .flatMap((queues) => [...queues.values()])
      .reduce((n, q) => n + q.messages.length, 0)
  }

  /** What came to the channel from somebody else. */
  inject(channel: Channel, key: string, message: Message, binding: Binding = kafka): void {
    this.#accept(channel, [{ key, message, binding }])
  }

  get transport(): Transport {
    return {
      name: 'nasty',
      traits: this.#traits,
      faultInName: (name) => (name === '' ? 'it is empty' : undefined),
      open: async (options): Promise<OpenTransport> => ({
        publish: (channel, messages) => this.#publish(channel, messages, options.environment),
        receive: async (channel, subscriber, take, selection) => {
          const queue = this.#queue(channel, subscriber, this.#selects ? selection : undefined)
          return this.#receive({ channel, subscriber, queue, take }, options)
        },
        ...(this.#traits.delivery === 'at-most-once'
          ? {}
          : {
              refused: (channel, subscriber, limit, judge) =>
                this.#queues.get(nameOf(channel))?.get(queueNameOf(channel, subscriber))?.judge(limit, judge) ??
                Promise.resolve(),
            }),
        [Symbol.asyncDispose]: async () => {},
      }),
    }
  }

  #chance(of: number): boolean {
    return this.#random() < of
  }

  async #pause(environment: Environment): Promise<void> {
    const { delayMsMax } = this.#faults
    if (delayMsMax > 0) await environment.sleep(this.#random() * delayMsMax)
  }

  async #publish(
    channel: Channel,
    messages: readonly Outgoing[],
    environment: Environment,
  ): Promise<readonly Published[]> {
    await this.#pause(environment)
    if (this.#down) throw new Error('the broker is down')
    const refuses = this.#chance(this.#faults.partialFailures)
    const accepted: Held[] = []
    const outcomes = messages.map((outgoing): Published => {
      const { key, event } = outgoing
      if (refuses && this.#chance(0.3)) return { error: new Error('the broker refuses this one') }
      const binding = this.#chance(0.5) ? kafka : nats
      const mode = this.#chance(0.5) ? 'binary' : 'structured'
      const message = toMessage(event, binding, mode)
      const bytes = bytesOf(message)
      if (bytes > this.#traits.messageBytes) return tooLarge(outgoing, bytes, this.#traits)
      accepted.push({ key, message, binding, attributes: event.attributes })
      return undefined
    })
    this.#accept(channel, accepted)
    await this.#pause(environment)
    if (this.#chance(this.#faults.lostConfirms)) throw new Error('the connection was lost before the answer')
    return outcomes
  }

  #accept(channel: Channel, messages: readonly Held[]): void {
    const name = nameOf(channel)
    const kept = this.#kept.get(name) ?? []
    this.#kept.set(name, kept)
    const stays = messages.filter(() => this.#traits.delivery !== 'at-most-once' || !this.#chance(this.#faults.lost))
    kept.push(...stays)
    for (const queue of this.#queues.get(name)?.values() ?? []) queue.add(stays)
  }

  #queue(channel: Channel, subscriber: string, selection: Selection | undefined): Queue {
    const name = nameOf(channel)
    const queues = this.#queues.get(name) ?? new Map<string, Queue>()
    this.#queues.set(name, queues)
    const queueName = queueNameOf(channel, subscriber)
    let queue = queues.get(queueName)
    const isNew = queue === undefined
    if (queue === undefined) queues.set(queueName, (queue = new Queue()))
    queue.selection = selection
    if (isNew && this.#traits.delivery === 'at-least-once') queue.add(this.#kept.get(name) ?? [])
    return queue
  }

  #receive({ channel, subscriber, queue, take }: Subscribed, { environment, warn }: TransportOptions): Receiving {
    const ended = new AbortController()
    const loop = async (): Promise<void> => {
      while (!ended.signal.aborted) {
        await queue.filled(environment, ended.signal)
        await this.#pause(environment)
        if (ended.signal.aborted || this.#down) continue
        const batch = this.#nextOf(queue)
        if (batch.length === 0) continue
        let again = this.#chance(this.#faults.lostAcks)
        try {
          const taken = await take(batch.map((held) => incoming(held)))
          for (const [at, answer] of taken.entries()) if (answer !== undefined) queue.refuse(batch[at]!, answer.refused)
        } catch (error) {
          warn(`what '${subscriber}' receives from '${channel.context}' could not be taken`, error)
          again = true
          await environment.sleep(5, ended.signal)
        }
        if (again) queue.messages.unshift(...batch)
      }
    }
    const running = loop()
    return {
      [Symbol.asyncDispose]: async () => {
        ended.abort()
        await running
      },
    }
  }

  /** The next messages, as many as chance has it; some of them twice, and in any order where none is promised. */
  #nextOf(queue: Queue): Held[] {
    const { messages } = queue
    const count = Math.ceil(this.#random() * Math.min(perBatch, messages.length))
    const batch: Held[] = []
    for (let n = 0; n < count; n++) {
      const at = this.#traits.ordered ? 0 : Math.floor(this.#random() * Math.min(messages.length, 4 * perBatch))
      const [held] = messages.splice(at, 1)
      batch.push(held!)
      if (this.#chance(this.#faults.duplicates)) messages.push(held!)
    }
    return batch
  }
}

const bytesOf = ({ headers, body }: Message): number =>
  Buffer.byteLength(JSON.stringify(headers)) + (body === null ? 0 : Buffer.byteLength(body))

const incoming = ({ message, binding }: Held): Incoming => ({
  decode: (limits) => {
    const decoded = fromMessage(message, binding, limits)
    if (decoded.mode === 'batch') throw new Error('no batches are sent here')
    return decoded.event
  },
})
