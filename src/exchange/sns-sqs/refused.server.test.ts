/** What a subscriber has refused, in its queue on SNS and SQS (emulated): as it came, all of it, and in nobody's hands afterwards. */

import { describe, expect, test } from 'vitest'
import { eventually } from '../../../test/support/eventually.ts'
import { titled } from '../../../test/support/require-server.ts'
import { type Bench, bench, message, messages, names, ordering, quick } from '../../../test/support/sns-sqs-bench.ts'
import { missing, ownBroker } from '../../../test/support/sns-sqs-suite.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { defaultLimits } from '../../core/limits.ts'
import type { OpenTransport, Outgoing, Refused } from '../transport.ts'

const broker = ownBroker()

/** Sends them to a subscriber that refuses each. */
const refuse = async ({ open, send }: Bench, all: readonly Outgoing[]): Promise<void> => {
  const opened = await open()
  let came = 0
  const receiving = await opened.receive(ordering, 'shipping', async (batch) => {
    came += batch.length
    return batch.map(() => ({ refused: new Error('of no use') }))
  })
  await send(opened, all)
  await eventually('all were refused', () => came >= all.length)
  await receiving[Symbol.asyncDispose]()
}

type Judge = (refused: Refused, n: number) => Promise<boolean>

/** What is shown. */
const look = async (open: OpenTransport, judge: Judge = async () => false): Promise<Refused[]> => {
  const shown: Refused[] = []
  await open.refused!(ordering, 'shipping', 100, (refused) => judge(refused, shown.push(refused)))
  return shown
}
const numberOf = ({ body }: Refused): number => (JSON.parse(String(body)) as { data: { n: number } }).data.n

describe.skipIf(missing)(titled('what was refused over SNS and SQS', missing), { timeout: 60_000 }, () => {
  test('is all of a key, as it came, and what SQS itself has set aside', async () => {
    const own = bench(broker().url)
    // As many attributes as a message may have, one of them called like the reason.
    const declared = ['refused', 'a', 'b', 'c', 'd', 'e', 'f']
    const sent = messages('a', 1, 25).map(({ event, ...rest }, n) => {
      const attributes = new Map([...event.attributes, ...declared.map((name) => [name, 'x'] as const)])
      return { ...rest, event: { attributes, data: `{"n":${n + 1},"to":"서울"}` } }
    })
    await refuse(own, sent)
    const QueueUrl = await own.urlOf(names[2])
    const order = { MessageGroupId: 'a', MessageDeduplicationId: 'moved' }
    await own.aws.sqs.sendMessage({ QueueUrl, MessageBody: 'hello', ...order })
    const shown = await look(await own.open())
    const moved = shown.pop()!
    expect(shown.map(numberOf)).toEqual(sent.map((_, n) => n + 1))
    expect(new Set(shown.map(({ id }) => id)).size).toBe(sent.length)
    for (const [n, { reason, body, incoming }] of shown.entries()) {
      expect(reason).toBe('of no use')
      expect(body).toContain(String.raw`"to":"\uc11c\uc6b8"`)
      expect(incoming.decode(defaultLimits).data).toBe(sent[n]!.event.data)
    }
    expect([moved.body, moved.reason]).toEqual(['hello', undefined])
    expect(() => moved.incoming.decode(defaultLimits)).toThrow(
      expect.objectContaining({ code: 'PABAL_MESSAGE_INVALID' }),
    )
  })

  test('is for others at once when judging ends, also with an error, which is told as it is', async () => {
    const own = bench(broker().url)
    await refuse(own, messages('a', 1, 12))
    const [one, two] = [await own.open({ visibilityMs: 3_600_000 }), await own.open()]
    const error = new Error('not now')
    const judging = look(one, async (_, n) => {
      if (n === 3) throw error
      return true
    })
    await expect(judging).rejects.toBe(error)
    const kept = messages('a', 3, 12).map((_, n) => n + 3)
    expect((await look(two)).map(numberOf)).toEqual(kept)
    await look(one)
    expect((await look(two, async () => true)).map(numberOf)).toHaveLength(kept.length)
    expect(await look(one)).toEqual([])
  })

  test('is out of the sight of others while it is judged, however long that takes', async () => {
    const own = bench(broker().url)
    await refuse(own, [message('a', 1), message('b', 2)])
    const [one, two] = [await own.open(), await own.open()]
    const seen: Refused[] = []
    const shown = await look(one, async (_, n) => {
      if (n === 1) await systemEnvironment.sleep(2 * quick.visibilityMs)
      seen.push(...(await look(two)))
      return n === 1
    })
    expect([shown.map(numberOf), seen]).toEqual([[1, 2], []])
    expect((await look(two)).map(numberOf)).toEqual([2])
  })

  test('is nothing where there is no queue yet', async () => {
    expect(await look(await bench(broker().url).open())).toEqual([])
  })
})
