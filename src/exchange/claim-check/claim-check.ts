/**
 * Large payloads beside the broker: a message says where its data is, in `dataref` of CloudEvents, and whoever receives it fetches
 * the data before the event is entered. Around any transport.
 */

import { defaultLimits } from '../../core/limits.ts'
import { PabalError } from '../../core/errors.ts'
import { checkPayloadSize, exceeds, type MessageLimits, textOf } from '../../event/cloudevents/body.ts'
import { type CloudEvent, identityOf } from '../../event/cloudevents/cloud-event.ts'
import type { Exchange } from '../exchange.ts'
import {
  bytesInJson,
  type Incoming,
  type OpenTransport,
  type Outgoing,
  type Published,
  type Transport,
} from '../transport.ts'

/** Where payloads are kept. Nobody deletes them but you: keep them for longer than a message may wait. */
export interface PayloadStore {
  /** Resolves when it is safe. The same name comes again with the same bytes. */
  put(name: string, data: Uint8Array): Promise<void>
  /** Undefined: it is not there. @throws PABAL_PAYLOAD_TOO_LARGE where it has more than so many bytes */
  get(name: string, bytesMost: number): Promise<Uint8Array | undefined>
}

export interface ClaimCheckOptions {
  readonly payloads: PayloadStore
  /** Bytes of a payload above which it is kept there. Default an eighth of what a message may have, and 65,536 at most. */
  readonly above?: number
}

/** Puts and gets at a time. */
const concurrency = 8
const bytesAboveMost = 65_536
const reference = 'pabal-payload:'
/** Of a name; none that is put here is as long, and what a store cannot look for would keep back whatever comes with it. */
const nameLengthMax = 500

/**
 * The exchange, with large payloads beside its brokers. Producers and consumers need the same store, and all of them this.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const claimCheck = (exchange: Exchange, options: ClaimCheckOptions): Exchange => {
  const { above } = options
  if (above !== undefined && !(Number.isInteger(above) && above >= 0))
    throw new PabalError('PABAL_COMPOSITION_INVALID', `claim check: \`above\` is ${above}, and must be a whole number`)
  const { carried, ...rest } = exchange['~pabal']
  return {
    '~pabal': { ...rest, carried: carried.map((each) => ({ ...each, transport: checked(each.transport, options) })) },
  }
}

const checked = (transport: Transport, { payloads, above }: ClaimCheckOptions): Transport => {
  const bytes = above ?? Math.min(bytesAboveMost, Math.floor(transport.traits.messageBytes / 8))
  const { bytesOf = bytesInJson } = transport
  return {
    ...transport,
    bytesOf: (event) => bytesOf(isHeavy(event, bytes) ? { ...event, data: undefined } : event),
    open: async (options) => {
      const { limits = defaultLimits } = options
      const open = await transport.open(options)
      const resources = open.resources?.bind(open)
      const refused = open.refused?.bind(open)
      return {
        publish: async (channel, messages, signal) =>
          publishLight(open, { payloads, bytes, channel, messages, signal }),
        receive: (channel, subscriber, take, selection) => {
          const whole: typeof take = async (batch) =>
            take(await someAtATime(batch, (incoming) => fetched(incoming, payloads, limits)))
          return open.receive(channel, subscriber, whole, selection)
        },
        ...(refused === undefined
          ? {}
          : {
              refused: (channel, subscriber, limit, judge) =>
                refused(channel, subscriber, limit, async (each) =>
                  judge({ ...each, incoming: await fetched(each.incoming, payloads, limits) }),
                ),
            }),
        ...(resources === undefined ? {} : { resources }),
        [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
      }
    },
  }
}

interface Publishing {
  readonly payloads: PayloadStore
  readonly bytes: number
  readonly channel: Parameters<OpenTransport['publish']>[0]
  readonly messages: readonly Outgoing[]
  readonly signal: AbortSignal
}

/** What could not be kept is not sent, nor anything of its key behind it. */
const publishLight = async (
  open: OpenTransport,
  { payloads, bytes, channel, messages, signal }: Publishing,
): Promise<readonly Published[]> => {
  const light = await someAtATime(messages, (message) => lightened(message, payloads, bytes))
  const failed = new Map<string, { readonly error: unknown }>()
  const sent: Outgoing[] = []
  for (const [at, { key }] of messages.entries()) {
    const message = light[at]!
    if ('error' in message && !failed.has(key)) failed.set(key, message)
    else if (!('error' in message) && !failed.has(key)) sent.push(message)
  }
  const outcomes = sent.length === 0 ? [] : await open.publish(channel, sent, signal)
  const outcomeOf = new Map(sent.map(({ id }, at) => [id, outcomes[at]]))
  return messages.map(({ id, key }) => (outcomeOf.has(id) ? outcomeOf.get(id) : failed.get(key)))
}

const lightened = async (
  message: Outgoing,
  payloads: PayloadStore,
  bytes: number,
): Promise<Outgoing | { readonly error: unknown }> => {
  const { event } = message
  if (!isHeavy(event, bytes)) return message
  const name = nameOf(event)
  try {
    await payloads.put(name, Buffer.from(event.data))
  } catch (error) {
    return { error }
  }
  return {
    ...message,
    event: { attributes: new Map([...event.attributes, ['dataref', `${reference}${name}`]]), data: undefined },
  }
}

const isHeavy = (event: CloudEvent, bytes: number): event is CloudEvent & { readonly data: string } =>
  typeof event.data === 'string' && exceeds(event.data, bytes)

/** By what identifies the event, so that nobody is led anywhere else. */
const nameOf = ({ attributes }: CloudEvent): string =>
  [attributes.get('source'), attributes.get('id')].map((part) => encodeURIComponent(String(part))).join('/')

/** What cannot be read is left as it is: the receiver says why. */
const fetched = async (incoming: Incoming, payloads: PayloadStore, limits: MessageLimits): Promise<Incoming> => {
  let event: CloudEvent
  try {
    event = incoming.decode(limits)
  } catch {
    return incoming
  }
  const name = nameOf(event)
  const isHere = event.data === undefined && event.attributes.get('dataref') === `${reference}${name}`
  if (!isHere || name.length > nameLengthMax) return { decode: () => event }
  try {
    const bytes = await payloads.get(name, limits.payloadBytes)
    if (bytes === undefined)
      throw new PabalError('PABAL_PAYLOAD_MISSING', `the data of ${String(event.attributes.get('id'))} is not there`, {
        context: identityOf(event.attributes),
      })
    const data = textOf(bytes, 'document', 'its data', event.attributes)
    const { attributes: before } = event
    const attributes = new Map([...before].filter(([attribute]) => attribute !== 'dataref'))
    return {
      decode: (given) => {
        checkPayloadSize(data, given, attributes)
        return { attributes, data }
      },
    }
  } catch (error) {
    // A store that is away is no fault of the message: the batch comes again.
    if (!(error instanceof PabalError) || error.retryable) throw error
    return {
      decode: () => {
        throw error
      },
    }
  }
}

/** In their order. */
const someAtATime = async <T, R>(all: readonly T[], work: (each: T) => Promise<R>): Promise<R[]> => {
  const done: R[] = []
  const next = all.entries()
  const worker = async (): Promise<void> => {
    for (const [at, each] of next) done[at] = await work(each)
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, all.length) }, worker))
  return done
}
