import { createApp, defineContext, defineEvent, definePublicEvent, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'

const Priced = z.object({ sku: z.string(), pence: z.number() })
const Repriced = defineEvent('catalogue.article-repriced', { schema: Priced, key: ({ sku }) => sku })
const RepricedV1 = definePublicEvent('shop.article-repriced.v1', {
  kind: 'domain',
  schema: Priced,
  key: ({ sku }) => sku,
})
const catalogue = defineContext('catalogue', {
  store: sqlite,
  events: [Repriced],
  publishes: [publish(Repriced, RepricedV1, ({ data }) => data)],
})
const basket = defineContext('basket', { store: sqlite, events: [] })

/** A process with a cache in front of its prices. */
const instance = (folder: string) => {
  const own: number[] = []
  const foreign: number[] = []
  const warnings: string[] = []
  const app = createApp({
    onWarning: (_what, error) => warnings.push(String(error)),
    contexts: [
      catalogue.with({
        store: sqlite(`${folder}/catalogue.db`),
        handlers: [
          catalogue.on(
            Repriced,
            'drop-price',
            ({ data }) => {
              own.push(data.pence)
              if (data.pence === 13) throw new Error('unlucky')
            },
            { phase: 'every-instance' },
          ),
        ],
      }),
      basket.with({
        store: sqlite(`${folder}/basket.db`),
        handlers: [
          basket.consume(RepricedV1, 'drop-total', ({ data }) => foreign.push(data.pence), {
            phase: 'every-instance',
          }),
        ],
      }),
    ],
  })
  onTestFinished(() => app.stop())
  const change = (pence: number) =>
    app.context(catalogue).transaction(({ raise }) => raise(Repriced, { sku: '85123A', pence }))
  return { app, change, own, foreign, warnings }
}

test('every process is told of what any of them commits, from its start on', async () => {
  const folder = await testFolder()
  const [first, second] = [instance(folder), instance(folder)]
  await first.app.start()
  await first.change(255)
  await eventually('the first is told', () => first.own.length === 1 && first.foreign.length === 1)
  await second.app.start()
  await second.change(275)
  await first.change(295)
  const all = (told: number[], prices: number[]) => JSON.stringify(told) === JSON.stringify(prices)
  await eventually('both are told, in order', () => all(first.own, [255, 275, 295]) && all(second.own, [275, 295]))
  await eventually('of public events too', () => all(first.foreign, [255, 275, 295]) && all(second.foreign, [275, 295]))
})

test('one that throws is named, and the next is told', async () => {
  const { app, change, own, warnings } = instance(await testFolder())
  await app.start()
  for (const pence of [13, 14]) await change(pence)
  await eventually('both are told', () => own.length === 2)
  expect(warnings).toEqual(['Error: unlucky'])
})

test('a process that does not run the app is told nothing, and what was raised meanwhile is not told later', async () => {
  const { app, change, own } = instance(await testFolder())
  await change(255)
  await app.start()
  await change(275)
  await eventually('it is told', () => own.length > 0)
  expect(own).toEqual([275])
  await app.stop()
})
