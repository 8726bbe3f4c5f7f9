/**
 * What a subscriber has refused: messages in a queue of their own, which can be looked at only by receiving them. So whoever looks
 * has them in hand, out of the sight of others, until all of them were judged.
 */

import type { OpenTransport } from '../transport.ts'
import { perRequest, type ReceivedMessage } from './driver.ts'
import { refusedOf } from './message.ts'
import { Queue } from './queue.ts'
import type { ReceivingsParts } from './receivings.ts'

/** With less SQS asks some of its servers only, and says that nothing is there where something is. */
const waitMs = 1_000

export const judgeRefused = async (
  { sqs, call, queues, settings, options }: ReceivingsParts,
  name: string,
  limit: number,
  judge: Parameters<NonNullable<OpenTransport['refused']>>[3],
): Promise<void> => {
  const queueUrl = await queues.find(name)
  if (queueUrl === undefined) return
  const { fifo, visibilityMs } = settings
  const { environment, warn } = options
  const ended = new AbortController().signal
  const own = { queueUrl, refusedUrl: queueUrl }
  const queue = new Queue({ sqs, call, queues: own, fifo, visibilityMs, waitMs, environment, warn, ended })
  try {
    // Nothing is given back in between, or it would be received again in place of what is behind it. Of what SQS itself has set
    // aside, which keeps its group, this brings ten of a group at most.
    const found: ReceivedMessage[] = []
    while (found.length < limit) {
      const some = await queue.receive(queue.attempt(), ended, Math.min(perRequest, limit - found.length))
      if (some.length === 0) break
      found.push(...some)
    }
    // The queue hides them as long as it takes. Where it cannot, since this process was silent for longer than `visibilityMs` or
    // they were held for twelve hours, others may have them too, and they are shown again: taking one twice is harmless.
    for (const message of found.toSorted((one, other) => sentMs(one) - sentMs(other)))
      if (await judge(refusedOf(message))) await queue.delete([message])
  } finally {
    await queue.close()
  }
}

/** SQS keeps order in a group only. */
const sentMs = ({ Attributes }: ReceivedMessage): number => Number(Attributes?.SentTimestamp ?? 0)
