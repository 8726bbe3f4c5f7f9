/**
 * PORT of a transport: carries the public events and messages of a context to other contexts. A transport promises little and says what; that
 * each event arrives once and in the order of its key (P9) is the work of the relay before it and the receiver behind it. So an
 * adapter is thin: it hands messages to a client and tells truly what became of them.
 */

import type { Environment } from '../core/environment.ts'
import { PabalError } from '../core/errors.ts'
import type { CloudEvent } from '../event/cloudevents/cloud-event.ts'
import { toJson } from '../event/cloudevents/structured.ts'
import type { MessageLimits } from '../event/cloudevents/body.ts'
import type { Resource, Terraform } from './resource.ts'

/** What the adapter's contract suite holds it to. */
export interface Traits {
  /** Messages of one key that were published one after the other are received in that order, redeliveries aside. */
  readonly ordered: boolean
  /** `at-most-once`: what nobody receives at the moment is lost, and told as published. */
  readonly delivery: 'at-least-once' | 'at-most-once'
  /** The most that one message may have, attributes included. */
  readonly messageBytes: number
  /**
   * Who receives a channel. `many` (default): each context that asks for it. `one`: a single one, so it carries messages to that
   * context and no public events. `none`: others than pabal only.
   */
  readonly subscribers?: 'many' | 'one' | 'none'
}

/** What one context publishes and sends: what its relay writes, and those who subscribe read. */
export interface Channel {
  readonly context: string
  /**
   * What it is called on the broker, exactly, where it is a foreign producer's own: it is read, and neither made, changed nor
   * removed. What is pabal's beside it (queue, group, what was refused) is named after `context`. Absent: it is pabal's, and so named.
   */
  readonly name?: string
  /**
   * Of what is published there: contexts that are sent messages. These wait for each of them, also for one that has never run; a
   * broker that keeps nothing for who has never asked makes room for them beforehand.
   */
  readonly receivers?: readonly string[]
}

/**
 * What a subscriber wants of a channel: of each of these attributes of a CloudEvent one of the values. They are attributes that
 * stay the same for a key, so it is whole keys that a transport may leave at the broker; it need not leave any. What does not
 * have the attribute is wanted.
 */
export type Selection = Readonly<Record<string, readonly string[]>>

/** What an app asks of a broker. */
export interface Needs {
  readonly publishes: readonly Channel[]
  readonly receives: readonly {
    readonly channel: Channel
    readonly subscriber: string
    /** Undefined: all of it. */
    readonly selection?: Selection | undefined
  }[]
}

export interface Outgoing {
  /** What order is kept for. */
  readonly key: string
  /** The same whenever the event is published; brokers may drop repetitions by it, nobody relies on that. */
  readonly id: string
  readonly event: CloudEvent
}

/** What became of one message; undefined: the broker has it, as safe as it keeps things. */
export type Published = { readonly error: unknown } | undefined

export const bytesInJson = (event: CloudEvent): number => Buffer.byteLength(toJson(event))

/** For one that has more bytes than the transport carries. */
export const tooLarge = (
  { id }: Pick<Outgoing, 'id'>,
  bytes: number,
  { messageBytes }: Traits,
): { readonly error: PabalError } => ({
  error: new PabalError(
    'PABAL_MESSAGE_TOO_LARGE',
    `event ${id} has ${bytes} bytes as a message, ${messageBytes} are carried`,
  ),
})

export interface Incoming {
  /** Untrusted. @throws PABAL_MESSAGE_INVALID, PABAL_MESSAGE_TOO_LARGE, PABAL_PAYLOAD_TOO_LARGE, PABAL_PAYLOAD_TOO_DEEP */
  decode(limits: MessageLimits): CloudEvent
}

/** What the receiver says of a message: it has it, or it is of no use to anyone. Either way it is not wanted again. */
export type Taken = { readonly refused: Error } | undefined

/** What a subscriber has refused, as its broker keeps it. */
export interface Refused {
  /** Names it among those of its subscriber, as long as it is there. */
  readonly id: string
  /** Undefined: the broker itself has set it aside, after many deliveries. */
  readonly reason: string | undefined
  readonly incoming: Incoming
  /** As it came; null: it had none. */
  readonly body: string | Uint8Array | null
}

/**
 * Takes a batch. When it rejects, none of it was taken, and the transport delivers all of it again after a while. It is called
 * again only when the last call has ended.
 */
export type Take = (batch: readonly Incoming[]) => Promise<readonly Taken[]>

/** Receiving; disposing takes no more, and waits for the batch that is under way. */
export type Receiving = AsyncDisposable

export interface OpenTransport extends AsyncDisposable {
  /**
   * Publishes messages, those of one key in the given order; one outcome for each. When one fails, later ones of its key may have
   * been accepted: whoever asked publishes them again. Rejects when nothing is known of any.
   */
  publish(channel: Channel, messages: readonly Outgoing[], signal: AbortSignal): Promise<readonly Published[]>
  /**
   * `subscriber`: the consuming context. Its processes share the messages; each other subscriber gets them too. `selection`: what
   * is enough for it.
   */
  receive(channel: Channel, subscriber: string, take: Take, selection?: Selection): Promise<Receiving>
  /**
   * Shows what a subscriber has refused and the broker keeps, the oldest first, `limit` at most, one after the other. What `judge`
   * answers true for goes; the rest stays, in its order. When that rejects, so does this, and what was not judged stays. Somebody else who
   * is at it may have some of it in hand. A place that is not there yet holds nothing. Absent: nothing is kept.
   */
  refused?(
    channel: Channel,
    subscriber: string,
    limit: number,
    judge: (refused: Refused) => Promise<boolean>,
  ): Promise<void>
  /** What has to stand on the broker, in the order of making. Absent: nothing has to. */
  resources?(needs: Needs): readonly Resource[]
}

export interface TransportOptions {
  readonly environment: Environment
  /** Told of what an operator should know: a connection lost, a message that could not be read. */
  readonly warn: (what: string, error: unknown) => void
  /** Of what is received. Default: those of every app. */
  readonly limits?: MessageLimits
}

/** A transport as a value; nothing is connected before `open`. */
export interface Transport {
  /** Part of the relay's name, so it never changes. */
  readonly name: string
  readonly traits: Traits
  /** Bytes of an event as a message, where they are not those of its JSON; pure. Asked when a large event is raised. */
  readonly bytesOf?: (event: CloudEvent) => number
  /**
   * Why no channel on this broker can have that name (`Channel`); undefined: it can. Pure. Absent: only channels are read that
   * pabal names.
   */
  readonly faultInName?: (name: string) => string | undefined
  open(options: TransportOptions): Promise<OpenTransport>
  /** The same resources for Terraform, without a look at the broker. Absent: they are made by `pabal topology apply` only. */
  terraform?(needs: Needs): Terraform
}
