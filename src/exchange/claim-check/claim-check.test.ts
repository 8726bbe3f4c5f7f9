/** Large payloads beside a broker that carries small messages only. */

import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { S3 } from '@aws-sdk/client-s3'
import { createApp, defineContext, defineEvent, definePublicEvent, type Exchange, over, publish } from 'pabal'
import { claimCheck, filePayloads, type PayloadStore, s3Payloads } from 'pabal/claim-check'
import { consumerNamed, operate, planReset, reset } from 'pabal/operate'
import { sqlite } from 'pabal/sqlite'
import { kind, type Nastiness, NastyBroker } from 'pabal/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { eventually } from '../../../test/support/eventually.ts'
import { testFolder } from '../../../test/support/folder.ts'
import { titled } from '../../../test/support/require-server.ts'
import { missingSnsSqs, startSnsSqs } from '../../../tools/servers/sns-sqs.ts'

const Note = z.object({ key: z.string(), text: z.string() })
const ofKey = { schema: Note, key: ({ key }: { key: string }): string => key }
const Noted = defineEvent('ordering.noted', ofKey)
const NotedV1 = definePublicEvent('shop.noted.v1', { ...ofKey, kind: 'domain' })
const ordering = defineContext('ordering', {
  store: sqlite,
  events: [Noted],
  publishes: [publish(Noted, NotedV1, ({ data }) => data)],
})
const shipping = defineContext('shipping', { store: sqlite, events: [] })

const messageBytes = 4_096
const long = '주문 '.repeat(5_000)
const short = 'a note'

const world = async (payloads: PayloadStore, faults: Nastiness = kind, ordered = false) => {
  const folder = await testFolder()
  const broker = new NastyBroker({ random: Math.random, traits: { messageBytes, ordered }, faults })
  const { transport } = broker
  const seen: string[] = []
  const warnings: string[] = []
  const app = (contexts: Parameters<typeof createApp>[0]['contexts'], exchange: Exchange) => {
    const made = createApp({
      contexts,
      exchange: claimCheck(exchange, { payloads, above: 1_000 }),
      onWarning: (what, error) => warnings.push(`${what}: ${String(error)}`),
    })
    onTestFinished(() => made.stop({ graceMs: 100 }))
    return made
  }
  const producer = app([ordering.with({ store: sqlite(`${folder}/ordering.db`) })], over(transport))
  const see = shipping.consume(NotedV1, 'see', ({ key, data }) => void seen.push(`${key} ${data.text}`))
  const consumer = () =>
    app(
      [shipping.with({ store: sqlite(`${folder}/shipping.db`), handlers: [see] })],
      over(transport, { from: { ordering: [NotedV1] } }),
    )
  const note = (...texts: readonly (readonly [key: string, text: string])[]) =>
    producer.context(ordering).transaction(({ raise }) => {
      for (const [key, text] of texts) raise(Noted, { key, text })
    })
  return { broker, producer, consumer, note, seen, warnings }
}

const kept = async (folder: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => `${parentPath}/${name}`)

const nasty = { duplicates: 0.3, lostAcks: 0.3, partialFailures: 0.3, lostConfirms: 0.2, lost: 0, delayMsMax: 3 }

describe('a payload that is too large for a message', () => {
  test('goes beside it, and comes as it was; a small one goes in it', async () => {
    const folder = await testFolder()
    const { producer, consumer, note, seen } = await world(filePayloads(folder))
    await Promise.all([producer.start(), consumer().start()])
    await note(['a', long], ['b', short], ['a', short])
    await eventually('all have come', () => seen.length === 3)
    expect(seen.toSorted()).toEqual([`a ${long}`, `a ${short}`, `b ${short}`].toSorted())
    expect(await kept(folder)).toHaveLength(1)
  })

  test('is lost by no broker that loses, repeats and reorders what it carries', async () => {
    const { producer, consumer, note, seen } = await world(filePayloads(await testFolder()), nasty)
    await Promise.all([producer.start(), consumer().start()])
    const keys = Array.from({ length: 40 }, (_, n) => `k${n}`)
    for (const key of keys) await note([key, n(key) % 2 === 0 ? long : short])
    await eventually('all have come', () => seen.length >= keys.length)
    expect(seen.toSorted()).toEqual(keys.map((key) => `${key} ${n(key) % 2 === 0 ? long : short}`).toSorted())
  })
  const n = (key: string): number => Number(key.slice(1))

  test('waits with its key while the store is away, and holds up nothing else', async () => {
    const folder = `${await testFolder()}/payloads`
    await writeFile(folder, 'a file where the folder would be')
    const { producer, consumer, note, seen } = await world(filePayloads(folder))
    await Promise.all([producer.start(), consumer().start()])
    await note(['a', long], ['a', short], ['b', short])
    await eventually('the other key has come', () => seen.length === 1)
    expect(seen).toEqual([`b ${short}`])
    await rm(folder)
    await eventually('it has come', () => seen.length === 3)
    expect(seen.slice(1)).toEqual([`a ${long}`, `a ${short}`])
  })

  test('comes again while the store cannot be read', async () => {
    const store = filePayloads(await testFolder())
    let isAway = true
    const { producer, consumer, note, seen, warnings } = await world({
      put: (...of) => store.put(...of),
      get: async (...of) => {
        if (isAway) throw new Error('away')
        return store.get(...of)
      },
    })
    await Promise.all([producer.start(), consumer().start()])
    await note(['a', long])
    await eventually('it is told', () => warnings.some((warning) => warning.includes('away')))
    isAway = false
    await eventually('it has come', () => seen.length === 1)
  })

  test.each([
    ['is gone', async (path: string) => rm(path)],
    ['is not UTF-8', async (path: string) => writeFile(path, Buffer.from([0xff, 0xfe]))],
    ['is larger than it may be', async (path: string) => writeFile(path, 'x'.repeat(300_000))],
  ])('that %s is refused; published again, it comes', async (_, spoil) => {
    const folder = await testFolder()
    const { producer, consumer, note, seen } = await world(filePayloads(folder))
    await note(['a', long], ['b', short])
    await producer.settle()
    const [path] = await kept(folder)
    await spoil(path!)
    const app = consumer()
    await app.start()
    await eventually('the other key has come', () => seen.length === 1)
    expect(seen).toEqual([`b ${short}`])

    const operated = await operate(producer)
    const relay = await consumerNamed(operated, 'ordering/relay-nasty')
    await reset(operated, relay, await planReset(relay, 'beginning'), { by: 'the test' })
    await producer.settle()
    await eventually('it has come', () => seen.length === 2)
    expect(seen[1]).toBe(`a ${long}`)
  })

  test('that nobody can have put there is not asked for, and holds up nothing', async () => {
    const store = filePayloads(await testFolder())
    const get: PayloadStore['get'] = async (name, most) => {
      // As S3 answers.
      if (name.length > 1_024) throw new Error('KeyTooLongError')
      return store.get(name, most)
    }
    const { broker, producer, consumer, note, seen } = await world({ ...store, get }, kind, true)
    const id = 'x'.repeat(1_100)
    const attributes = {
      specversion: '1.0',
      id,
      source: 'urn:pabal:ordering',
      type: NotedV1.type,
      dataref: `pabal-payload:urn%3Apabal%3Aordering/${id}`,
    }
    const headers = { 'content-type': 'application/cloudevents+json' }
    broker.inject({ context: 'ordering' }, '', { headers, contentType: undefined, body: JSON.stringify(attributes) })
    await Promise.all([producer.start(), consumer().start()])
    await note(['a', long])
    await eventually('it has come', () => seen.length === 1)
  })

  test('leads nobody to another file', async () => {
    const folder = await testFolder()
    await mkdir(`${folder}/in`)
    await writeFile(`${folder}/secret`, '{}')
    const store = filePayloads(`${folder}/in`)
    for (const name of ['../secret', '..%2Fsecret', `${folder}/secret`, '', '\0'])
      expect(await store.get(name, 1_000)).toBeUndefined()
  })
})

const missing = missingSnsSqs()
describe.skipIf(missing)(titled('payloads in S3', missing), () => {
  test('are there for who has the bucket; what is not there is no error of the store', {
    timeout: 180_000,
  }, async () => {
    await using broker = await startSnsSqs()
    const s3 = new S3({
      endpoint: broker.url,
      region: 'eu-west-1',
      forcePathStyle: true,
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    })
    onTestFinished(() => s3.destroy())
    await s3.createBucket({ Bucket: 'payloads' })
    const payloads = s3Payloads({ s3, bucket: 'payloads', prefix: 'events/' })
    const { producer, consumer, note, seen } = await world(payloads)
    await Promise.all([producer.start(), consumer().start()])
    await note(['a', long], ['b', short])
    await eventually('both have come', () => seen.length === 2)
    expect(seen.toSorted()).toEqual([`a ${long}`, `b ${short}`])
    expect(await payloads.get('nothing', 1_000)).toBeUndefined()
    await payloads.put('much', new Uint8Array(2_000))
    await expect(payloads.get('much', 1_000)).rejects.toMatchObject({ code: 'PABAL_PAYLOAD_TOO_LARGE' })
    await expect(s3Payloads({ s3, bucket: 'other' }).put('a', new Uint8Array())).rejects.toThrow(/bucket/i)
  })
})
