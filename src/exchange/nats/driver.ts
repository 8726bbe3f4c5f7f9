/** What the adapter needs of the NATS client (`@nats-io/transport-node` and `@nats-io/jetstream`, 3.x): the caller gives its functions. */

export interface NatsClient<C extends NatsConnection = NatsConnection> {
  /** Makes a connection, as `() => connect({ servers })` does; called again when one has ended for good. */
  connect(): Promise<C>
  /** `jetstream` of `@nats-io/jetstream`, or a function around it that gives a domain. */
  jetstream(connection: C): JetStream
  /** `headers` of `@nats-io/transport-node`. */
  headers(): MessageHeaders
}

export interface NatsConnection {
  readonly info?: { readonly max_payload: number } | undefined
  /** Resolves when it has ended for good: closed, or given up. */
  closed(): Promise<unknown>
  close(): Promise<void>
  /** A round trip to the server. */
  flush(): Promise<void>
  status(): AsyncIterable<{ readonly type: string; readonly error?: Error }>
}

export interface MessageHeaders extends Iterable<[string, string[]]> {
  append(name: string, value: string): void
}

export interface JetStream {
  publish(subject: string, payload: string | Uint8Array, options?: PublishOptions): Promise<unknown>
  readonly consumers: { get(stream: string, name: string): Promise<PullConsumer> }
  jetstreamManager(checkApi?: boolean): Promise<JetStreamManager>
}

export interface PublishOptions {
  readonly msgID?: string
  readonly headers?: MessageHeaders
  /** Milliseconds. */
  readonly timeout?: number
  readonly expect?: { readonly streamName?: string; readonly lastSequence?: number }
}

export interface PullConsumer {
  fetch(options: { readonly max_messages: number; readonly expires: number }): Promise<Fetched>
}

/** Messages as they come, until so many have or the time is over. It throws when the server gives no more signs of life. */
export interface Fetched extends AsyncIterable<JetStreamMessage> {
  stop(): void
  /** How many are here already, and wait to be iterated over. */
  getPending(): number
}

export interface JetStreamMessage {
  readonly subject: string
  readonly data: Uint8Array
  readonly headers: MessageHeaders | undefined
  /** Its place in the stream. */
  readonly seq: number
  ack(): void
  ackAck(options?: { readonly timeout: number }): Promise<boolean>
  nak(): void
  /** Begins the time until it is delivered again anew. */
  working(): void
}

export interface StoredMessage {
  readonly data: Uint8Array
  readonly header: MessageHeaders
  readonly seq: number
}

export interface JetStreamManager {
  readonly streams: {
    info(stream: string): Promise<StreamInfo>
    add(config: StreamConfig): Promise<unknown>
    delete(stream: string): Promise<unknown>
    /** The first of that subject at `seq` or behind it; null, or an error, where there is none. */
    getMessage(
      stream: string,
      query: { readonly seq: number; readonly next_by_subj: string },
    ): Promise<StoredMessage | null>
    deleteMessage(stream: string, seq: number, erase: boolean): Promise<boolean>
  }
  readonly consumers: {
    info(stream: string, consumer: string): Promise<{ readonly config: FoundConsumer }>
    add(stream: string, config: ConsumerConfig): Promise<unknown>
    delete(stream: string, consumer: string): Promise<unknown>
    list(stream: string): AsyncIterable<{ readonly name: string }>
  }
}

export interface StreamInfo {
  readonly config: {
    readonly subjects?: readonly string[]
    readonly retention?: string
    readonly no_ack?: boolean
    readonly storage?: string
    readonly discard?: string
    /** Nanoseconds. */
    readonly max_age?: number
    readonly max_msgs?: number
    readonly num_replicas?: number
  }
  readonly state: { readonly messages: number; readonly last_seq: number }
}

export interface StreamConfig {
  readonly name: string
  readonly description: string
  readonly subjects: string[]
  readonly retention: 'limits'
  readonly storage: 'file'
  readonly discard: 'new'
  /** Nanoseconds. */
  readonly max_age: number
  readonly max_msgs: number
  readonly num_replicas: number
}

export interface ConsumerConfig {
  readonly durable_name: string
  readonly description: string
  readonly ack_policy: 'explicit'
  readonly deliver_policy: 'all' | 'new'
  readonly replay_policy: 'instant'
  /** Nanoseconds. */
  readonly ack_wait: number
  readonly max_ack_pending: number
  readonly max_deliver: number
}

export interface FoundConsumer {
  readonly ack_policy?: string
  readonly ack_wait?: number
  readonly max_ack_pending?: number
  readonly max_deliver?: number
  /** Where it pushes to. */
  readonly deliver_subject?: string
  readonly filter_subject?: string
  readonly filter_subjects?: readonly string[]
}
