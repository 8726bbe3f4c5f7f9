/** Dead letters from the command line while the app runs in another process on the same files. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { counted, type OperatedFolder, operatedFolder } from '../support/cli.ts'
import { type Order, realOrders } from '../support/operated-shop.ts'

const orders = realOrders(6)
const [first, second] = orders as [Order, Order]
const dead = (consumer: string) =>
  `select count(*) from pabal_ordering_parked where status = 'dead' and consumer = '${consumer}'`
const deadShipments = "select count(*) from pabal_shipping_parked where status = 'dead'"
const applied = (shop: OperatedFolder, context: string, key: string) =>
  shop.rows<{ id: string; sequence: number; country: string }>(
    context,
    `select id, sequence, country from applied where key = '${key}' order by n`,
  )

/** Three events of the first key wait in order-list, one of the second. */
const broken = async () => {
  const shop = await operatedFolder()
  shop.fail({ 'order-list': { [first.orderId]: 'country is unknown', [second.orderId]: 'country is unknown' } })
  const app = await shop.start()
  app.place(orders)
  await counted(shop, 'ordering', dead('order-list'), 2)
  app.place([first, first])
  await counted(shop, 'ordering', `select waiting from pabal_ordering_parked where key = '${first.orderId}'`, 2)
  return { shop, app }
}

interface Letter {
  readonly id: string
  readonly group: string
  readonly key: string
  readonly waiting: number
}
const lettersOf = async (shop: OperatedFolder): Promise<readonly Letter[]> =>
  (await shop.pabal(['dead', 'list', '-o', 'json'])).json<{ deadLetters: readonly Letter[] }>().deadLetters

test('what is dead is listed by its cause, without payloads, and shown in full with what waits behind', async () => {
  const { shop } = await broken()
  const list = await shop.pabal(['dead', 'list'])
  expect(list).toMatchObject({ code: 0, err: '' })
  expect(list.out).toContain('2 keys are stuck for 1 reason, 2 events wait behind')
  expect(list.out).toContain('TypeError')
  expect(list.out).not.toContain('totalPence')
  const letters = await lettersOf(shop)
  expect(new Set(letters.map(({ group }) => group)).size).toBe(1)

  const { id } = letters.find(({ key }) => key === first.orderId)!
  const shown = await shop.pabal(['dead', 'show', id])
  expect(shown.out).toContain('country is unknown')
  expect(shown.out).toContain(`"totalPence": ${first.totalPence}`)
  expect(shown.out).toContain('behind it  2 events')
  expect(shown.out).toContain(`pabal dead retry ${id} --consumer ordering/order-list --wait`)
  const detail = (
    await shop.pabal(['dead', 'show', '--consumer', 'order-list', '--key', first.orderId, '-o', 'json'])
  ).json()
  expect(detail).toMatchObject({
    id,
    title: '주문됨',
    attempts: 2,
    data: first,
    retry: { effects: 'database', attempts: 2 },
  })
  expect(detail['behind']).toHaveLength(2)
})

test('one retry handles its key in order, and says what became of it', async () => {
  const { shop } = await broken()
  const { id } = (await lettersOf(shop)).find(({ key }) => key === first.orderId)!
  const again = await shop.pabal(['dead', 'retry', id, '--wait', '10s'])
  expect(again).toMatchObject({ code: 1, out: expect.stringContaining('failed again') })

  await counted(shop, 'ordering', dead('order-list'), 2)
  shop.fail({ 'order-list': { [second.orderId]: 'country is unknown' } })
  const retried = await shop.pabal(['dead', 'retry', id, '--wait', '10s', '-o', 'json'])
  expect(retried).toMatchObject({ code: 0 })
  expect(retried.json()).toMatchObject({ outcome: 'handled' })
  await counted(
    shop,
    'ordering',
    `select count(*) from applied where key = '${first.orderId}' and consumer = 'order-list'`,
    3,
  )
  // In between come the sequences of the charges.
  const sequences = applied(shop, 'ordering', first.orderId).map(({ sequence }) => sequence)
  expect(sequences).toEqual(sequences.toSorted((one, other) => one - other))
  expect(await lettersOf(shop)).toMatchObject([{ key: second.orderId }])
})

test('a retry of all that match is planned first, and refused when the plan has changed', async () => {
  const { shop, app } = await broken()
  expect(await shop.pabal(['dead', 'retry'])).toMatchObject({ code: 2, err: expect.stringContaining('which ones?') })
  const before = shop.dump()
  const plan = await shop.pabal(['dead', 'retry', '--consumer', 'order-list'])
  expect(plan).toMatchObject({ code: 2, out: expect.stringContaining('would retry 2 dead letters') })
  expect(plan.err).toContain('pabal dead retry --consumer order-list --expect 2 --yes')
  expect(shop.dump()).toEqual(before)

  const third = { ...first, orderId: 'third' }
  shop.fail({ 'order-list': { '*': 'country is unknown' } })
  app.place([third])
  await counted(shop, 'ordering', dead('order-list'), 3)
  expect(await shop.pabal(['dead', 'retry', '--consumer', 'order-list', '--expect', '2', '--yes'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('PABAL_PLAN_CHANGED: 2 keys were planned, there are 3 now'),
  })
  shop.fail({})
  const { group } = (await lettersOf(shop))[0]!
  expect(await shop.pabal(['dead', 'retry', '--group', group, '--expect', '3', '--yes'])).toMatchObject({ code: 0 })
  await counted(shop, 'ordering', 'select count(*) from pabal_ordering_parked', 0)
  await counted(shop, 'ordering', "select count(*) from applied where consumer = 'order-list'", 9)
  expect((await shop.pabal(['dead', 'list'])).out).toBe('nothing is dead\n')
  expect((await shop.pabal(['dead', 'retry', '--all'])).code).toBe(0)
})

test('a corrected copy is handled in its place by this consumer only, and its trace tells who made it', async () => {
  const { shop } = await broken()
  const { id } = (await lettersOf(shop)).find(({ key }) => key === first.orderId)!
  const corrected = JSON.stringify({ ...first, country: 'Corrected' })
  const edit = (...args: string[]) =>
    shop.pabal(['dead', 'edit', id, '--reason', 'typo in the country', '--by', 'kim', ...args])

  for (const [data, why] of [
    ['{"orderId":', 'PABAL_PAYLOAD_NOT_JSON'],
    [JSON.stringify({ ...first, totalPence: 'many' }), 'PABAL_PAYLOAD_INVALID'],
    [JSON.stringify({ ...first, orderId: 'other' }), 'the new payload has the key "other"'],
    ['{"__proto__": {}}', 'PABAL_PAYLOAD_FORBIDDEN_KEY'],
    ['@no-such-file.json', 'cannot be read'],
  ] as const)
    expect(await edit('--data', data, '--yes')).toMatchObject({ code: 2, err: expect.stringContaining(why) })
  expect(await shop.pabal(['dead', 'edit', id, '--data', corrected, '--yes'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('a reason is needed'),
  })

  const plan = await edit('--data', corrected)
  expect(plan.code).toBe(2)
  expect(plan.out).toContain('- country: "United Kingdom"')
  expect(plan.out).toContain('+ country: "Corrected"')
  const edited = await shop.pabal(
    [
      'dead',
      'edit',
      id,
      '--data',
      '-',
      '--reason',
      'typo in the country',
      '--by',
      'kim',
      '--wait',
      '--yes',
      '-o',
      'json',
    ],
    {
      input: corrected,
    },
  )
  expect(edited.json()).toMatchObject({ outcome: 'handled', event: id })
  const { copy } = edited.json<{ copy: string }>()
  expect(applied(shop, 'ordering', first.orderId)[0]).toEqual({ id: copy, sequence: 1, country: 'Corrected' })
  expect(applied(shop, 'shipping', first.orderId)[0]).toEqual({ id, sequence: 1, country: 'United Kingdom' })

  const trace = await shop.pabal(['trace', id])
  expect(trace.out).toContain('dead letter edited and retried')
  const shown = (await shop.pabal(['log', 'show', copy, '-o', 'json'])).json()
  expect(shown).toMatchObject({
    type: 'pabal.dead-letter-edited',
    causationid: id,
    data: { by: 'kim', reason: 'typo in the country', data: { ...first, country: 'Corrected' } },
  })
  // The copy is one event of the key: those behind it are still broken.
  expect(await lettersOf(shop)).toHaveLength(2)
})

test('a retry tells that the event was passed over, where the handler has a filter by now that does not want it', async () => {
  const { shop, app } = await broken()
  shop.fail({ 'open-shipment': { [second.orderId]: 'no such street' } })
  app.place([second])
  await counted(shop, 'shipping', deadShipments, 1)
  await app.stop()
  const options = { largeOnly: true } as const
  shop.configureShop(options)
  await shop.start(options)
  const [{ id }] = (
    await shop.pabal(['dead', 'list', '--consumer', 'open-shipment', '-o', 'jsonl'])
  ).rows<Letter>() as [Letter]
  const retried = await shop.pabal(['dead', 'retry', id, '--consumer', 'open-shipment', '--wait', '-o', 'json'])
  expect(retried.json()).toMatchObject({ outcome: 'filtered' })
  await counted(shop, 'shipping', 'select count(*) from pabal_shipping_parked', 0)
  expect(applied(shop, 'shipping', second.orderId)).toHaveLength(1)
  const trace = await shop.pabal(['trace', id])
  expect(trace.out).toContain('∅ shipping/open-shipment filtered: not wanted by its filter')
  expect(trace.out).toContain('✓ ordering/charge')
})

test('a skipped event is left out with its reason, and its key goes on behind it', async () => {
  const { shop } = await broken()
  const { id } = (await lettersOf(shop)).find(({ key }) => key === first.orderId)!
  expect(await shop.pabal(['dead', 'skip', id, '--yes'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('a reason is needed'),
  })
  const before = shop.dump()
  expect((await shop.pabal(['dead', 'skip', id, '--reason', 'test order'])).code).toBe(2)
  expect(shop.dump()).toEqual(before)

  shop.fail({ 'order-list': { [second.orderId]: 'country is unknown' } })
  expect((await shop.pabal(['dead', 'skip', id, '--reason', 'test order', '--by', 'kim', '--yes'])).code).toBe(0)
  await counted(
    shop,
    'ordering',
    `select count(*) from applied where consumer = 'order-list' and key = '${first.orderId}'`,
    2,
  )
  expect(shop.rows('ordering', 'select event_id, reason, by from pabal_ordering_skipped')).toEqual([
    { event_id: id, reason: 'test order', by: 'kim' },
  ])
  expect((await shop.pabal(['trace', id])).out).toContain('skipped by kim: test order')
  const [consumer] = (await shop.pabal(['consumer', 'list', '-o', 'json'])).json<{ consumers: { skipped: number }[] }>()
    .consumers
  expect(consumer).toMatchObject({ consumer: 'order-list', skipped: 1 })
})

test('a skipped event of another context leaves no gap', async () => {
  const shop = await operatedFolder()
  shop.fail({ 'open-shipment': { '*': 'no such country' } })
  const app = await shop.start()
  app.place([first, first, first, second])
  await counted(shop, 'shipping', deadShipments, 2)
  const plan = await shop.pabal(['dead', 'skip', '--consumer', 'open-shipment', '--reason', 'tests'])
  expect(plan).toMatchObject({ code: 2, out: expect.stringContaining('2 dead letters') })
  shop.fail({})
  expect(
    (await shop.pabal(['dead', 'skip', '--consumer', 'open-shipment', '--reason', 'tests', '--expect', '2', '--yes']))
      .code,
  ).toBe(0)
  await counted(shop, 'shipping', 'select count(*) from pabal_shipping_parked', 0)
  app.place([first, second])
  await counted(shop, 'shipping', `select count(*) from applied where key = '${first.orderId}'`, 3)
  await counted(shop, 'shipping', `select count(*) from applied where key = '${second.orderId}'`, 1)
  await counted(shop, 'shipping', 'select count(*) from pabal_shipping_parked', 0)
})

test('an external handler is called again with the same idempotency key', async () => {
  const shop = await operatedFolder()
  shop.fail({ charge: { [first.orderId]: 'card was refused' } })
  const app = await shop.start()
  app.place([first, second])
  await counted(shop, 'ordering', dead('charge'), 1)
  const { id } = (await lettersOf(shop))[0]!
  expect((await shop.pabal(['dead', 'show', id])).out).toContain(`idempotency key ordering/charge:${id}`)
  shop.fail({})
  expect((await shop.pabal(['dead', 'retry', id, '--wait'])).code).toBe(0)
  expect(readFileSync(shop.file('charge.txt'), 'utf8').split('\n')).toContain(`ordering/charge:${id}`)
})

test('an event that is dead for two consumers has to be named with its consumer', async () => {
  const shop = await operatedFolder()
  shop.fail({ 'order-list': { '*': 'broken' }, charge: { '*': 'broken' } })
  const app = await shop.start()
  app.place([first])
  await counted(shop, 'ordering', "select count(*) from pabal_ordering_parked where status = 'dead'", 2)
  const { id } = (await lettersOf(shop))[0]!
  const ambiguous = await shop.pabal(['dead', 'show', id])
  expect(ambiguous).toMatchObject({ code: 2 })
  expect(ambiguous.err).toContain(`${id} --consumer ordering/charge`)
  expect((await shop.pabal(['dead', 'show', id, '--consumer', 'charge'])).code).toBe(0)
  expect((await shop.pabal(['dead', 'show', '01234567-0000-7000-8000-000000000000'])).err).toContain(
    'PABAL_DEAD_LETTER_UNKNOWN',
  )
})

test('nobody tries what is retried while the app is stopped, and the command says so', async () => {
  const { shop, app } = await broken()
  await app.stop()
  const { id } = (await lettersOf(shop))[0]!
  const retried = await shop.pabal(['dead', 'retry', id, '--wait', '200ms'])
  expect(retried).toMatchObject({ code: 1, out: expect.stringContaining('nobody has tried it yet') })
  shop.fail({})
  await shop.start()
  await counted(shop, 'ordering', 'select count(*) from pabal_ordering_parked', 1)
})
