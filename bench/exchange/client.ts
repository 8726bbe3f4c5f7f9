/** One broker's client as a program without pabal uses it, beside the transport that stands on the same client. */

import type { Outgoing, Transport } from '../../src/exchange/transport.ts'

export interface Client {
  /** What pabal makes is named by the prefix, so that arms do not see each other's. */
  transport(prefix: string): Transport
  /** To where the transport publishes; what is not measured is done before it resolves. */
  publisher(prefix: string, messages: readonly Outgoing[]): Promise<Publisher>
  /** From where the transport receives. A batch is acknowledged when it was taken. */
  consume(prefix: string, take: TakeBodies): Promise<AsyncDisposable>
}

export interface Publisher extends AsyncDisposable {
  /** So many of the messages, from there on; resolves when the broker has confirmed all. */
  publish(from: number, count: number): Promise<void>
}

export type TakeBodies = (bodies: readonly string[]) => Promise<void>

/** Whoever is brought messages one by one takes together what has come meanwhile. */
export class Inbox<Message> {
  readonly #take: (messages: readonly Message[]) => Promise<void>
  #waiting: Message[] = []
  #taking: Promise<void> | undefined

  constructor(take: (messages: readonly Message[]) => Promise<void>) {
    this.#take = take
  }

  readonly add = (message: Message): void => {
    this.#waiting.push(message)
    this.#taking ??= this.#work().finally(() => (this.#taking = undefined))
  }

  async #work(): Promise<void> {
    // What arrives in one turn of the event loop is one batch.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.#waiting.length > 0) await this.#take(this.#waiting.splice(0))
  }

  async idle(): Promise<void> {
    await this.#taking
  }
}

/** A loop that ends when it is disposed of. */
export const looping = (turn: () => Promise<void>, close: () => unknown = () => {}): AsyncDisposable => {
  const ended = new AbortController()
  const { signal } = ended
  const run = async (): Promise<void> => {
    while (!signal.aborted)
      try {
        await turn()
      } catch (error) {
        if (!signal.aborted) throw error
      }
  }
  const running = run()
  return {
    [Symbol.asyncDispose]: async () => {
      ended.abort()
      await close()
      await running
    },
  }
}
