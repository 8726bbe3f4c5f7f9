/** What the adapter needs of amqplib (https://amqp-node.github.io/amqplib, version 2): the caller says how to connect, as often as it takes. */

export interface RabbitConnection {
  readonly connection: {
    readonly serverProperties: { readonly version?: string | undefined }
    /** The socket, of which the client's types say nothing. */
    readonly stream?: { destroy(error: Error): unknown }
  }
  createChannel(): Promise<RabbitChannel>
  createConfirmChannel(): Promise<RabbitConfirmChannel>
  close(): Promise<void>
  on(event: 'error' | 'close', listener: (error?: Error) => void): unknown
  on(event: 'blocked', listener: (reason: string) => void): unknown
  on(event: 'unblocked', listener: () => void): unknown
}

export interface RabbitChannel {
  assertExchange(exchange: string, type: string, options: { readonly durable: boolean }): Promise<unknown>
  checkExchange(exchange: string): Promise<unknown>
  assertQueue(
    queue: string,
    options: { readonly durable: boolean; readonly arguments: Readonly<Record<string, unknown>> },
  ): Promise<unknown>
  checkQueue(queue: string): Promise<{ readonly messageCount: number }>
  deleteExchange(exchange: string, options: { readonly ifUnused: boolean }): Promise<unknown>
  deleteQueue(queue: string): Promise<unknown>
  bindQueue(queue: string, exchange: string, pattern: string): Promise<unknown>
  unbindQueue(queue: string, exchange: string, pattern: string): Promise<unknown>
  prefetch(count: number): Promise<unknown>
  /** Null: the broker delivers no more. */
  consume(queue: string, onMessage: (message: RabbitMessage | null) => void): Promise<unknown>
  ack(message: RabbitMessage, allUpTo: boolean): void
  reject(message: RabbitMessage, requeue: boolean): void
  close(): Promise<void>
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'close', listener: () => void): unknown
  on(event: 'return', listener: () => void): unknown
}

export interface RabbitConfirmChannel extends RabbitChannel {
  /** `confirmed` is told null when the broker has it. */
  publish(
    exchange: string,
    routingKey: string,
    content: Buffer,
    options: RabbitProperties,
    confirmed: (error: unknown) => void,
  ): boolean
}

export interface RabbitProperties {
  readonly persistent: boolean
  /** What no queue takes is returned before it is confirmed. */
  readonly mandatory?: boolean
  readonly messageId: string
  readonly contentType?: string
  readonly headers: Readonly<Record<string, unknown>>
}

export interface RabbitMessage {
  readonly content: Buffer
  readonly fields: { readonly deliveryTag: number; readonly routingKey: string }
  readonly properties: {
    readonly contentType: unknown
    readonly messageId: unknown
    readonly headers: Readonly<Record<string, unknown>> | undefined
  }
}

/** Ends a connection on which nothing is heard: an orderly end would wait for the broker's answer. */
export const abandon = (connection: RabbitConnection, error: Error): void => {
  connection.on('error', () => undefined) // nobody may listen, as with one that came too late
  const { stream } = connection.connection
  if (stream !== undefined) stream.destroy(error)
  else connection.close().catch(() => undefined) // it tells its end by its events
}
