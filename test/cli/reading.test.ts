/** Reading from the command line: status, log, trace, in each format, safe for a terminal. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import stringWidth from 'string-width'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startChild } from '../support/child.ts'
import { counted, type OperatedFolder, operatedFolder } from '../support/cli.ts'
import { createOperatedShop, place, realOrders } from '../support/operated-shop.ts'

const orders = realOrders(6)
const esc = String.fromCharCode(27)
const csi = String.fromCharCode(0x9b)
const charged = "select count(*) from pabal_ordering_event where type = 'ordering.order-charged'"

/** In payloads and errors, and never in what a terminal is given. */
const nasty = `United${esc}[2J${csi}31m\u202eKingdom`

describe('over a shop with a dead letter', () => {
  let shop: OperatedFolder

  beforeAll(async () => {
    shop = await operatedFolder(mkdtempSync(join(tmpdir(), 'pabal-')))
    shop.fail({ 'order-list': { [orders[5]!.orderId]: `bad ${esc}[31mred${csi}2J\nforged line \u2066` } })
    const app = createOperatedShop(shop.folder)
    await place(app, [...orders.slice(0, 5), { ...orders[5]!, country: nasty }])
    await app.settle({ withinMs: 20_000 })
    await app.stop()
  })
  afterAll(() => rmSync(shop.folder, { recursive: true, force: true }))

  test('status tells what needs a person first, and what to type', async () => {
    const { code, out } = await shop.pabal(['status'])
    expect(code).toBe(0)
    expect(out.split('\n')[0]).toBe('1 thing needs you')
    expect(out).toContain('✗ ordering/order-list dead letters: 1 key is dead')
    expect(out).toContain('→ pabal dead list --consumer ordering/order-list')
    expect(out).toContain('12 events')
    expect(await shop.pabal(['status', '--check', '-o', 'none'])).toMatchObject({ code: 4, out: '' })
    const json = (await shop.pabal(['status', '-o', 'json'])).json<{
      at: string
      contexts: Record<string, unknown>[]
    }>()
    expect(json.at).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/)
    expect(json.contexts[0]).toMatchObject({
      context: 'ordering',
      title: '주문',
      log: { head: 12, oldest: 1, events: 12, operatorEvents: 0, receivedEvents: 0 },
    })
    expect((await shop.pabal(['status', '-o', 'jsonl'])).rows().map(({ consumer }) => consumer)).toEqual([
      'order-list',
      'charge',
      'open-shipment',
    ])
  })

  test('the log is listed by type, key and position', async () => {
    const list = async (...args: string[]) =>
      (await shop.pabal(['log', 'list', '-o', 'jsonl', ...args])).rows<{
        type: string
        key: string
        position: number
        title: string
      }>()
    expect(await list()).toHaveLength(12)
    expect((await list('--type', 'ordering.order-charged')).every(({ title }) => title === '결제됨')).toBe(true)
    expect(await list('--type', '*.order-p*')).toHaveLength(6)
    expect((await list('--key', orders[2]!.orderId)).map(({ type }) => type)).toEqual([
      'ordering.order-placed',
      'ordering.order-charged',
    ])
    expect(
      (await list('--context', 'ordering', '--after', '3', '--limit', '2')).map(({ position }) => position),
    ).toEqual([4, 5])
    expect(
      (await list('--context', 'ordering', '--before', '4', '--limit', '2')).map(({ position }) => position),
    ).toEqual([2, 3])
    expect(await shop.pabal(['log', 'list', '--after', '3'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('add --context'),
    })
    expect(await shop.pabal(['log', 'list', '--type', 'nothing'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('ordering.order-placed'),
    })
    expect(await shop.pabal(['log', 'list', '--context', 'nowhere'])).toMatchObject({
      code: 2,
      err: expect.stringContaining("'nowhere' is not a context"),
    })
  })

  test('an event is shown as a CloudEvent by its id or its position', async () => {
    const event = (await shop.pabal(['log', 'show', 'ordering:1', '-o', 'json'])).json<{ id: string }>()
    expect(event).toMatchObject({
      specversion: '1.0',
      type: 'ordering.order-placed',
      partitionkey: orders[0]!.orderId,
      data: orders[0],
    })
    expect((await shop.pabal(['log', 'show', event.id, '-o', 'json'])).json()).toEqual(event)
    expect((await shop.pabal(['log', 'show', '1', '--context', 'ordering', '-o', 'json'])).json()).toEqual(event)
    const text = await shop.pabal(['log', 'show', event.id])
    expect(text.out).toContain('주문됨 ordering.order-placed')
    expect(text.out).toContain('✓ ordering/order-list 주문 목록')
    expect(text.out).toContain('✓ shipping/open-shipment')
    for (const [given, code] of [
      ['99', 'PABAL_USAGE'],
      ['ordering:99', 'PABAL_EVENT_UNKNOWN'],
      ['01234567-0000-7000-8000-000000000000', 'PABAL_EVENT_UNKNOWN'],
      ['one', 'PABAL_USAGE'],
    ] as const)
      expect(await shop.pabal(['log', 'show', given])).toMatchObject({ code: 2, err: expect.stringContaining(code) })
  })

  test('a trace leads from cause to effects, with who has handled what', async () => {
    const [last] = (
      await shop.pabal(['log', 'list', '-o', 'jsonl', '--type', 'ordering.order-placed', '--key', orders[5]!.orderId])
    ).rows<{ id: string; correlationId: string }>()
    const { out } = await shop.pabal(['trace', last!.id])
    expect(out).toMatch(
      /^└─ 주문됨 ordering.order-placed {2}ordering \d+#1 \+\d+ ms\n.*✗ ordering\/order-list 주문 목록 dead after 2×: TypeError/m,
    )
    expect(out).toContain(`→ pabal dead show ${last!.id} --consumer ordering/order-list`)
    expect(out).toMatch(/✓ ordering\/charge\n.*✓ shipping\/open-shipment\n {3}└─ 결제됨 ordering.order-charged/)
    expect(out).toContain('5 other trees of the same correlation')
    const whole = (await shop.pabal(['trace', last!.correlationId, '-o', 'json'])).json<{
      events: number
      roots: unknown[]
    }>()
    expect(whole).toMatchObject({ events: 12, otherRoots: 5 })
    expect(
      (await shop.pabal(['trace', last!.id, '--whole', '-o', 'json'])).json<{ roots: unknown[] }>().roots,
    ).toHaveLength(6)
    expect(await shop.pabal(['trace', 'nothing'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('PABAL_EVENT_UNKNOWN'),
    })
  })

  test('payloads are shown where they are asked for only, and nothing in them steers the terminal', async () => {
    const { id } = (await shop.pabal(['dead', 'list', '-o', 'jsonl'])).rows<{ id: string }>()[0]!
    for (const args of [['status'], ['log', 'list'], ['dead', 'list'], ['trace', id], ['doctor'], ['consumer', 'list']])
      for (const format of ['text', 'json', 'jsonl']) {
        const { out } = await shop.pabal([...args, '-o', format])
        expect(out).not.toContain('totalPence')
        expect(out).not.toMatch(/[\u001b\u009b\u202e\u2066]/)
      }
    for (const args of [
      ['log', 'show', id],
      ['dead', 'show', id],
    ]) {
      const text = await shop.pabal(args)
      expect(text.out).toContain('totalPence')
      expect(text.out).not.toMatch(/[\u001b\u009b\u202e\u2066]/)
      const json = await shop.pabal([...args, '-o', 'json'])
      expect(json.out).not.toMatch(/[\u001b\u009b\u202e\u2066]/)
      expect(json.json<{ data: { country: string } }>().data.country).toBe(nasty)
    }
    expect(
      (await shop.pabal(['dead', 'show', id])).out.split('\n').filter((line) => line.startsWith('forged')),
    ).toEqual([])
  })

  test('columns line up under Korean titles', async () => {
    const lines = (await shop.pabal(['log', 'list'])).out.trimEnd().split('\n')
    const at = lines.slice(1).map((line) => stringWidth(line.slice(0, line.search(/[0-9a-f]{8}-/))))
    expect(new Set(at).size).toBe(1)
    expect(at[0]).toBe(stringWidth(lines[0]!.slice(0, lines[0]!.lastIndexOf('id'))))
  })

  test('colours are for terminals, and for whoever asks', async () => {
    expect((await shop.pabal(['status'])).out).not.toContain(esc)
    expect((await shop.pabal(['status', '--color', 'always'])).out).toContain(`${esc}[31m`)
    expect((await shop.pabal(['status'], { env: { FORCE_COLOR: '1' } })).out).toContain(esc)
    expect((await shop.pabal(['status'], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).out).not.toContain(esc)
    expect((await shop.pabal(['status', '--color', 'never'], { env: { FORCE_COLOR: '1' } })).out).not.toContain(esc)
  })

  test('points in time are relative, ISO 8601 or raw', async () => {
    expect((await shop.pabal(['log', 'list', '--limit', '1'])).out).toMatch(/ (ms|s|min) ago /)
    expect((await shop.pabal(['log', 'list', '--limit', '1', '--time-format', 'iso'])).out).toMatch(
      / \d{4}-\d\d-\d\dT[\d:.]+Z /,
    )
    expect((await shop.pabal(['log', 'list', '--limit', '1', '--time-format', 'raw'])).out).toMatch(/ \d{13} /)
  })

  test('whoever stops reading is no error', async () => {
    const child = spawn(process.execPath, ['--conditions=pabal-source', resolve('src/cli/main.ts'), 'log', 'list'], {
      cwd: shop.folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    let err = ''
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    const [code] = (await once(child, 'close')) as [number]
    expect({ code, err }).toEqual({ code: 0, err: '' })
  })
})

test('the tail shows events of the running app as they come', async () => {
  const shop = await operatedFolder()
  const app = await shop.start()
  app.place(orders.slice(0, 2))
  await counted(shop, 'ordering', charged, 2)
  const tail = startChild({
    text: `process.chdir(${JSON.stringify(shop.folder)})
      process.argv = [process.execPath, 'pabal', 'log', 'tail', '--type', 'ordering.order-placed', '--recent', '1', '--limit', '3', '-o', 'jsonl', '--timeout', '20s']
      await import(${JSON.stringify(resolve('src/cli/main.ts'))})`,
  })
  await expect.poll(() => tail.lines.length, { timeout: 10_000 }).toBe(1)
  app.place(orders.slice(2, 4))
  expect(await tail.ended).toBe(0)
  expect(tail.lines.map((line) => (JSON.parse(line) as { key: string }).key)).toEqual(
    orders.slice(1, 4).map(({ orderId }) => orderId),
  )
  expect(await shop.pabal(['log', 'tail', '-o', 'json'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('use -o jsonl'),
  })
  expect(await shop.pabal(['log', 'tail', '--for', '10ms', '--recent', '0'])).toMatchObject({ code: 0, out: '' })
})

test('codes are explained without an app', async () => {
  const shop = await operatedFolder()
  shop.configure("throw new Error('not loaded')")
  const { code, out } = await shop.pabal(['explain', 'store-busy'])
  expect(code).toBe(0)
  expect(out).toContain('PABAL_STORE_BUSY')
  expect(out).toContain('exit code  3 (unreachable)')
  expect((await shop.pabal(['explain', 'PABAL_PLAN_CHANGED', '-o', 'json'])).json()).toMatchObject({
    code: 'PABAL_PLAN_CHANGED',
    exit: 2,
  })
  expect((await shop.pabal(['explain', '-o', 'jsonl'])).rows().length).toBeGreaterThan(40)
})
