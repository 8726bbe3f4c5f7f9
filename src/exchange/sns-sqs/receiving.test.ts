/** Receiving from a queue in memory that does what AWS does and its emulator does not: several of a group at a time, and answers that are lost. */

import { describe, expect, onTestFailed, test } from 'vitest'
import { seeded } from '../../../test/guarantees/postgres-workers/seeded.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { defaultLimits } from '../../core/limits.ts'
import type { Incoming, Taken } from '../transport.ts'
import { callsWithin } from './calls.ts'
import type { BatchAnswer, ReceivedMessage, SqsClient } from './driver.ts'
import { Queue } from './queue.ts'
import { QueueReceiving } from './receiving.ts'

/** A second of the queue is short. */
const secondMs = 20

interface Stored {
  readonly group: string
  readonly message: ReceivedMessage
  handle: string
  hiddenUntilMs: number
}

type Client = Pick<SqsClient, 'receiveMessage' | 'deleteMessageBatch' | 'changeMessageVisibilityBatch' | 'sendMessage'>

class FifoQueue implements Client {
  messages: Stored[] = []
  readonly refused: string[] = []
  deletions = 0
  receives = 0
  /** Messages that were handed out, repeated answers aside. */
  issued = 0
  readonly #random: () => number
  readonly #answered = new Map<string, readonly ReceivedMessage[]>()

  constructor(random: () => number) {
    this.#random = random
  }

  add(group: string, n: number): void {
    const attributes = `"specversion":"1.0","id":"${group}-${n}","source":"urn:pabal:ordering","type":"t","subject":"${group}"`
    const message = { MessageId: `${group}-${n}`, Body: `{${attributes},"data":${n}}` }
    this.messages.push({ group, message, handle: '', hiddenUntilMs: 0 })
  }

  /** Now and then the answer is lost, or the request is. */
  async #faulty<T>(work: () => T): Promise<T> {
    await systemEnvironment.sleep(this.#random() * 3)
    const fate = this.#random()
    if (fate < 0.1) throw new Error('the request was lost')
    const answer = work()
    if (fate < 0.2) throw new Error('the answer was lost')
    return answer
  }

  receiveMessage: Client['receiveMessage'] = ({
    MaxNumberOfMessages,
    VisibilityTimeout,
    ReceiveRequestAttemptId = '',
  }) =>
    this.#faulty(() => {
      this.receives++
      const before = this.#answered.get(ReceiveRequestAttemptId)
      if (before !== undefined) return { Messages: before }
      const now = Date.now()
      const locked = new Set(this.messages.filter(({ hiddenUntilMs }) => hiddenUntilMs > now).map(({ group }) => group))
      const found = this.messages.filter(({ group }) => !locked.has(group)).slice(0, MaxNumberOfMessages)
      const Messages = found.map((stored): ReceivedMessage => {
        stored.hiddenUntilMs = now + VisibilityTimeout * secondMs
        stored.handle = systemEnvironment.id()
        return { ...stored.message, ReceiptHandle: stored.handle }
      })
      this.issued += Messages.length
      if (Messages.length > 0) this.#answered.set(ReceiveRequestAttemptId, Messages)
      return { Messages }
    })

  deleteMessageBatch: Client['deleteMessageBatch'] = ({ Entries }) =>
    this.#faulty(() => {
      const handles = new Set(Entries.map(({ ReceiptHandle }) => ReceiptHandle))
      const kept = this.messages.filter(
        ({ handle, hiddenUntilMs }) => !handles.has(handle) || hiddenUntilMs < Date.now(),
      )
      this.deletions += this.messages.length - kept.length
      this.messages = kept
      return {}
    })

  changeMessageVisibilityBatch: Client['changeMessageVisibilityBatch'] = ({ Entries }) =>
    this.#faulty((): BatchAnswer => {
      for (const { ReceiptHandle, VisibilityTimeout } of Entries)
        for (const stored of this.messages)
          if (stored.handle === ReceiptHandle && stored.hiddenUntilMs > Date.now())
            stored.hiddenUntilMs = Date.now() + VisibilityTimeout * secondMs
      return {}
    })

  sendMessage: Client['sendMessage'] = ({ MessageBody }) =>
    this.#faulty(() => {
      if (!this.refused.includes(MessageBody)) this.refused.push(MessageBody)
      return {}
    })
}

const receivingFrom = (
  sqs: FifoQueue,
  random: () => number,
  take: (batch: readonly Incoming[]) => Promise<readonly Taken[]>,
): QueueReceiving => {
  const environment = { ...systemEnvironment, random, sleep: quickly }
  const ended = new AbortController()
  const queue = new Queue({
    sqs: sqs as unknown as SqsClient,
    call: callsWithin(systemEnvironment, 1_000),
    queues: { queueUrl: 'queue', refusedUrl: 'refused' },
    fifo: true,
    visibilityMs: 20_000,
    waitMs: 1_000,
    environment,
    warn: () => {},
    ended: ended.signal,
  })
  return new QueueReceiving({ queue, ended, take, polls: 4, waitMs: 1_000, environment, what: 'it', warn: () => {} })
}

/** As much shorter as the queue's seconds are. */
const quickly = (ms: number, signal?: AbortSignal): Promise<void> =>
  systemEnvironment.sleep((ms * secondMs) / 1_000, signal)

const read = (incoming: Incoming): { group: string; n: number } => {
  const { attributes, data } = incoming.decode(defaultLimits)
  return { group: String(attributes.get('subject')), n: Number(data) }
}

describe('receiving from a queue', () => {
  test('brings each group in order to two processes, whatever is lost on the way', { timeout: 180_000 }, async () => {
    const seed = Number(process.env['PABAL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
    onTestFailed(() => console.error(`the faults were chosen with PABAL_SEED=${seed}`))
    const random = seeded(seed)
    const sqs = new FifoQueue(random)
    const order = new Map<string, number[]>()
    let taking = 0
    const consumer = (): QueueReceiving => {
      let own = 0
      return receivingFrom(sqs, random, async (batch) => {
        expect(++own).toBe(1)
        await systemEnvironment.sleep(random() * 4)
        own--
        if (random() < 0.1) throw new Error('not now')
        taking += batch.length
        for (const { group, n } of batch.map(read)) {
          const numbers = order.get(group) ?? []
          order.set(group, numbers)
          if (!numbers.includes(n)) numbers.push(n)
        }
        return batch.map(() => undefined)
      })
    }
    const consumers = [consumer(), consumer()]
    const groups = Array.from({ length: 8 }, (_, n) => `group-${n}`)
    for (let n = 1; n <= 50; n++) {
      for (const group of groups) sqs.add(group, n)
      if (n % 10 === 0) await systemEnvironment.sleep(5)
    }
    await eventually('all is taken and deleted', () => sqs.messages.length === 0, 30_000)
    await Promise.all(consumers.map((each) => each[Symbol.asyncDispose]()))
    for (const group of groups) expect(order.get(group)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1))
    expect(taking).toBeGreaterThanOrEqual(400)
    expect(sqs.deletions).toBe(400)
  })

  test('asks again for what was handed out in an answer that was lost', async () => {
    // Of the first request: how long it takes, and its fate.
    const chances = [0, 0.15]
    const sqs = new FifoQueue(() => chances.shift() ?? 0.5)
    sqs.add('a', 1)
    const takes = async (batch: readonly Incoming[]): Promise<readonly Taken[]> => batch.map(() => undefined)
    const receiving = receivingFrom(sqs, () => 0.5, takes)
    await eventually('it is taken and deleted', () => sqs.messages.length === 0)
    expect(sqs.issued).toBe(1)
    await receiving[Symbol.asyncDispose]()
  })

  test('has one poll under way where nothing is to be had', async () => {
    const sqs = new FifoQueue(() => 0.5)
    const idle = receivingFrom(
      sqs,
      () => 0.5,
      async (batch) => batch.map(() => undefined),
    )
    for (let n = 1; n <= 40; n++) sqs.add('a', n)
    await eventually('all is taken and deleted', () => sqs.messages.length === 0)
    await systemEnvironment.sleep(50)
    const before = sqs.receives
    await systemEnvironment.sleep(100)
    // Each takes about 1.5 ms here: four would be about 250.
    expect(sqs.receives - before).toBeLessThan(100)
    await idle[Symbol.asyncDispose]()
  })

  test('gives back what nobody has taken when it ends', async () => {
    const sqs = new FifoQueue(() => 0.5)
    let offers = 0
    const failing = receivingFrom(
      sqs,
      () => 0.5,
      async () => {
        offers++
        throw new Error('not now')
      },
    )
    for (let n = 1; n <= 30; n++) sqs.add(`group-${n % 3}`, n)
    await eventually('it was offered, again and again', () => offers > 2)
    await failing[Symbol.asyncDispose]()
    expect(sqs.messages).toHaveLength(30)
    for (const { hiddenUntilMs } of sqs.messages) expect(hiddenUntilMs).toBeLessThanOrEqual(Date.now())
  })
})
