/**
 * A subscriber's queue as one process sees it. What it has received is in its hands: nobody else sees it, nor anything else of its
 * group, until it is deleted or given back, or this process is silent for as long as the visibility timeout (R6).
 */

import type { Environment } from '../../core/environment.ts'
import { backoffMs } from '../../core/environment.ts'
import type { Taken } from '../transport.ts'
import type { Call } from './calls.ts'
import { perRequest, type ReceivedMessage, type SqsClient } from './driver.ts'
import { isRefused } from './failures.ts'
import { refusedAttributes } from './message.ts'

/** The queues of one subscriber. */
export interface Subscribed {
  readonly queueUrl: string
  readonly refusedUrl: string
}

export interface QueueParts {
  readonly sqs: SqsClient
  readonly call: Call
  readonly queues: Subscribed
  readonly fifo: boolean
  /** Of the messages in the hands of a process that has ended, until others get them. */
  readonly visibilityMs: number
  /** That a receive waits at the broker for messages. */
  readonly waitMs: number
  readonly environment: Environment
  readonly warn: (what: string, error: unknown) => void
  /** From then on nothing is tried again. */
  readonly ended: AbortSignal
}

/** A try at receiving; made again with the same id it brings the same messages, if an answer was lost on its way. */
export interface Attempt {
  readonly id: string
  /** Then they are visible to others again. */
  readonly untilMs: number
}

/** Tries of what follows a batch, before it is left to the visibility timeout. */
const attemptsMax = 5
const firstMs = 100
const maxMs = 2_000

export class Queue {
  readonly #parts: QueueParts
  readonly #held = new Set<ReceivedMessage>()
  readonly #closed = new AbortController()
  readonly #beating: Promise<void>

  constructor(parts: QueueParts) {
    this.#parts = parts
    this.#beating = this.#beat(this.#closed.signal)
  }

  /** Messages in its hands. */
  get held(): number {
    return this.#held.size
  }

  attempt(): Attempt {
    const { environment, visibilityMs } = this.#parts
    return { id: environment.id(), untilMs: environment.now() + visibilityMs }
  }

  async receive(attempt: Attempt, signal: AbortSignal, most: number = perRequest): Promise<readonly ReceivedMessage[]> {
    const { sqs, call, queues, fifo, visibilityMs, waitMs } = this.#parts
    const request = {
      QueueUrl: queues.queueUrl,
      MaxNumberOfMessages: most,
      WaitTimeSeconds: Math.round(waitMs / 1_000),
      VisibilityTimeout: Math.ceil(visibilityMs / 1_000),
      MessageAttributeNames: ['All'],
      ...(fifo ? { ReceiveRequestAttemptId: attempt.id } : {}),
    }
    const { Messages = [] } = await call(
      'sqs:ReceiveMessage',
      (options) => sqs.receiveMessage({ ...request, MessageSystemAttributeNames: ['SentTimestamp'] }, options),
      { signal, waitMs },
    )
    for (const message of Messages) this.#held.add(message)
    return Messages
  }

  /** Others may have them at once. When that fails, they may after the visibility timeout. */
  async giveBack(messages: readonly ReceivedMessage[]): Promise<void> {
    await this.#changeVisibility(messages, 0).catch(() => undefined)
    for (const message of messages) this.#held.delete(message)
  }

  /** Deletes what was taken, and what was refused when a copy of it is where refused messages go. */
  async settle(messages: readonly ReceivedMessage[], taken: readonly Taken[]): Promise<void> {
    const { warn } = this.#parts
    try {
      const done: ReceivedMessage[] = []
      for (const [at, message] of messages.entries()) {
        const refused = taken[at]?.refused
        if (refused === undefined || (await this.#setAside(message, refused))) done.push(message)
      }
      await this.delete(done)
    } catch (error) {
      warn(`what was taken from ${this.#parts.queues.queueUrl} could not be deleted, and will come again`, error)
    } finally {
      for (const message of messages) this.#held.delete(message)
    }
  }

  /** Rejects when they may come again; those that others have had meanwhile may too. */
  async delete(messages: readonly ReceivedMessage[]): Promise<void> {
    await this.#inTens(messages, (some) => this.#deleteSome(some))
    for (const message of messages) this.#held.delete(message)
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await this.#beating
    await this.giveBack([...this.#held])
  }

  /** Whether it need not come again. */
  async #setAside(message: ReceivedMessage, refused: Error): Promise<boolean> {
    const { sqs, call, queues, fifo, warn } = this.#parts
    const { MessageId = '', Body = '' } = message
    const request = {
      QueueUrl: queues.refusedUrl,
      MessageBody: Body,
      MessageAttributes: refusedAttributes(message, refused),
      // A group of its own: of one group nobody could look at more than ten.
      ...(fifo ? { MessageGroupId: MessageId, MessageDeduplicationId: MessageId } : {}),
    }
    try {
      await this.#again(() => call('sqs:SendMessage', (options) => sqs.sendMessage(request, options)))
      warn(`message ${MessageId} is of no use: it is in ${queues.refusedUrl}`, refused)
      return true
    } catch (error) {
      // What the broker itself does not take there would hold up its group for ever.
      const isLost = isRefused(error)
      warn(`message ${MessageId} is of no use (${refused.message}), and could not be kept`, error)
      return isLost
    }
  }

  async #deleteSome(messages: readonly ReceivedMessage[]): Promise<void> {
    const { sqs, call, queues } = this.#parts
    const Entries = messages.map(({ ReceiptHandle = '' }, at) => ({ Id: String(at), ReceiptHandle }))
    const request = { QueueUrl: queues.queueUrl, Entries }
    await this.#again(async () => {
      const { Failed = [] } = await call('sqs:DeleteMessage', (options) => sqs.deleteMessageBatch(request, options))
      // Those that it says are ours to blame have been visible to others again, and come again.
      const transient = Failed.find(({ SenderFault }) => SenderFault !== true)
      if (transient !== undefined) throw new Error(`sqs:DeleteMessage: ${transient.Code} ${transient.Message}`)
    })
  }

  async #again(work: () => Promise<unknown>): Promise<void> {
    const { environment, ended } = this.#parts
    for (let attempt = 1; ; attempt++)
      try {
        await work()
        return
      } catch (error) {
        if (attempt === attemptsMax || ended.aborted || isRefused(error)) throw error
        await environment.sleep(backoffMs(attempt, firstMs, maxMs, environment.random), ended)
      }
  }

  /** Keeps what it holds from others for as long as it is held. */
  async #beat(closed: AbortSignal): Promise<void> {
    const { environment, visibilityMs } = this.#parts
    while (!closed.aborted) {
      await environment.sleep(visibilityMs / 3, closed)
      // Failing is no news: if it goes on, messages come again, and who receives is told of the same connection.
      if (!closed.aborted && this.#held.size > 0)
        await this.#changeVisibility([...this.#held], visibilityMs).catch(() => undefined)
    }
  }

  async #changeVisibility(messages: readonly ReceivedMessage[], ms: number): Promise<void> {
    const { sqs, call, queues } = this.#parts
    const VisibilityTimeout = Math.ceil(ms / 1_000)
    await this.#inTens(messages, async (some) => {
      const Entries = some.map(({ ReceiptHandle = '' }, at) => ({ Id: String(at), ReceiptHandle, VisibilityTimeout }))
      const request = { QueueUrl: queues.queueUrl, Entries }
      await call('sqs:ChangeMessageVisibility', (options) => sqs.changeMessageVisibilityBatch(request, options))
    })
  }

  async #inTens(
    messages: readonly ReceivedMessage[],
    work: (some: readonly ReceivedMessage[]) => Promise<void>,
  ): Promise<void> {
    const running = Array.from({ length: Math.ceil(messages.length / perRequest) }, (_, n) =>
      work(messages.slice(n * perRequest, (n + 1) * perRequest)),
    )
    // One that fails leaves the others under way.
    await Promise.allSettled(running)
    await Promise.all(running)
  }
}
