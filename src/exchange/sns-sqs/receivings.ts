/** All that one process receives, each from a queue of its own, until it is closed. */

import type { Receiving, Take, TransportOptions } from '../transport.ts'
import type { Call } from './calls.ts'
import type { SqsClient } from './driver.ts'
import type { Queues } from './queues.ts'
import { Queue } from './queue.ts'
import { QueueReceiving } from './receiving.ts'
import type { Settings } from './settings.ts'

export interface ReceivingsParts {
  readonly sqs: SqsClient
  readonly call: Call
  readonly queues: Queues
  readonly settings: Settings
  readonly options: TransportOptions
}

export interface From {
  /** Of queues that are there. */
  readonly queue: string
  readonly refused: string
  /** Of what is received, for warnings. */
  readonly what: string
}

export class Receivings implements AsyncDisposable {
  readonly #parts: ReceivingsParts
  readonly #all = new Set<Receiving>()

  constructor(parts: ReceivingsParts) {
    this.#parts = parts
  }

  async begin({ queue: name, refused, what }: From, take: Take): Promise<Receiving> {
    const { sqs, call, queues, settings, options } = this.#parts
    const { fifo, polls, waitMs, visibilityMs } = settings
    const { environment, warn } = options
    const [queueUrl, refusedUrl] = await Promise.all([name, refused].map(async (each) => (await queues.find(each))!))
    const ended = new AbortController()
    const queue = new Queue({
      sqs,
      call,
      queues: { queueUrl: queueUrl!, refusedUrl: refusedUrl! },
      fifo,
      visibilityMs,
      waitMs,
      environment,
      warn,
      ended: ended.signal,
    })
    const receiving = new QueueReceiving({ queue, ended, take, polls, waitMs, environment, what, warn })
    this.#all.add(receiving)
    return receiving
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map((receiving) => receiving[Symbol.asyncDispose]()))
  }
}
