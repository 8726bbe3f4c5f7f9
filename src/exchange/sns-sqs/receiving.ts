/**
 * Receiving at work: polls bring messages, several at a time where there are many; one `take` at a time has all that has come; what
 * was taken is deleted while the next batch is.
 */

import { backoffMs, type Environment } from '../../core/environment.ts'
import type { Receiving, Take, Taken } from '../transport.ts'
import { perRequest, type ReceivedMessage } from './driver.ts'
import { incoming } from './message.ts'
import type { Queue } from './queue.ts'

export interface ReceivingParts {
  readonly queue: Queue
  /** Ends its polls and batches. */
  readonly ended: AbortController
  readonly take: Take
  /** Receives under way at a time. */
  readonly polls: number
  readonly waitMs: number
  readonly environment: Environment
  /** Of what is received, for warnings. */
  readonly what: string
  readonly warn: (what: string, error: unknown) => void
}

/** Messages of one batch; of them and those that wait there are twice as many at most. */
const batchMax = 300
const heldMax = 600
/**
 * A batch that was not taken is kept and offered again, since each receive counts: a thousand would be enough for SQS to set its
 * messages aside, and a database may be away for longer. After so long others may try.
 */
const offeredMs = 1_200_000
const firstMs = 100
const maxMs = 10_000

export class QueueReceiving implements Receiving {
  readonly #parts: ReceivingParts
  readonly #waiting: ReceivedMessage[] = []
  readonly #ended: AbortController
  /** Ends polls that do not end by themselves. */
  readonly #cut = new AbortController()
  readonly #settling = new Set<Promise<void>>()
  readonly #polling = new Set<Promise<void>>()
  readonly #taking: Promise<void>
  #bell = new AbortController()
  #isLost = false
  #closed: Promise<void> | undefined

  constructor(parts: ReceivingParts) {
    this.#parts = parts
    this.#ended = parts.ended
    this.#poll(true)
    this.#taking = this.#takeAll()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /**
   * A poll is not cut short: the broker may be about to hand out messages, and nobody would have them until their visibility
   * timeout has passed. It ends when it brings something, or after its time.
   */
  async #close(): Promise<void> {
    const { environment, waitMs, queue } = this.#parts
    this.#ended.abort()
    this.#ring()
    await this.#taking
    await queue.giveBack(this.#waiting.splice(0))
    const done = new AbortController()
    void environment.sleep(waitMs + 1_000, done.signal).then(() => this.#cut.abort())
    await Promise.all(this.#polling)
    done.abort()
    await Promise.all(this.#settling)
    await queue.close()
  }

  #ring(): void {
    this.#bell.abort()
    this.#bell = new AbortController()
  }

  /** Something has come, was settled, or ends. */
  async #news(): Promise<void> {
    await this.#parts.environment.sleep(60_000, this.#bell.signal)
  }

  #poll(isFirst: boolean): void {
    const polling = this.#receive(isFirst)
    this.#polling.add(polling)
    void polling.then(() => this.#polling.delete(polling))
  }

  /** The first goes on for ever; others come with full answers, and go with an empty one: an idle queue costs one request at a time. */
  async #receive(isFirst: boolean): Promise<void> {
    const { queue, polls, environment } = this.#parts
    const ended = this.#ended.signal
    let attempt = queue.attempt()
    for (let failures = 0; !ended.aborted; ) {
      if (queue.held >= heldMax) {
        await this.#news()
        continue
      }
      try {
        const messages = await queue.receive(attempt, this.#cut.signal)
        attempt = queue.attempt()
        failures = 0
        this.#isLost = false
        if (ended.aborted) {
          await queue.giveBack(messages)
          return
        }
        if (messages.length > 0) {
          this.#waiting.push(...messages)
          this.#ring()
        } else if (!isFirst) return
        if (messages.length === perRequest && this.#polling.size < polls) this.#poll(false)
      } catch (error) {
        if (ended.aborted) return
        this.#lost(error)
        await environment.sleep(backoffMs(++failures, firstMs, maxMs, environment.random), ended)
        if (environment.now() >= attempt.untilMs) attempt = queue.attempt()
      }
    }
  }

  /** Said once, until it has worked again. */
  #lost(error: unknown): void {
    const { warn, what } = this.#parts
    if (!this.#isLost) warn(`${what} does not come in`, error)
    this.#isLost = true
  }

  async #takeAll(): Promise<void> {
    const { queue } = this.#parts
    while (!this.#ended.signal.aborted) {
      if (this.#waiting.length === 0) {
        await this.#news()
        continue
      }
      const batch = this.#waiting.splice(0, batchMax)
      const taken = await this.#offer(batch)
      if (taken === undefined) {
        await queue.giveBack([...batch, ...this.#waiting.splice(0)])
        this.#ring()
      } else {
        const settling = queue.settle(batch, taken)
        this.#settling.add(settling)
        void settling.then(() => {
          this.#settling.delete(settling)
          this.#ring()
        })
      }
    }
  }

  /** Until it is taken; undefined: it is left to others. */
  async #offer(batch: readonly ReceivedMessage[]): Promise<readonly Taken[] | undefined> {
    const { take, environment, warn, what } = this.#parts
    const ended = this.#ended.signal
    const untilMs = environment.now() + offeredMs
    for (let attempt = 1; ; attempt++)
      try {
        return await take(batch.map(incoming))
      } catch (error) {
        warn(`${batch.length} messages of ${what} could not be taken`, error)
        await environment.sleep(backoffMs(attempt, firstMs, maxMs, environment.random), ended)
        if (ended.aborted || environment.now() >= untilMs) return undefined
      }
  }
}
