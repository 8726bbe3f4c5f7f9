import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, stat } from 'node:fs/promises'
import { isAbsolute, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { missingPostgres, testDatabase } from '../../test/support/postgres.ts'
import { titled } from '../../test/support/require-server.ts'
import { halfYearFile, header, writeTestFile } from './retail/testing.ts'
import { firstWeekOfShop as week, halfYearOfShop } from './testing/ledger.ts'
import { isAlive, newServerFolder, serverPid } from './testing/on-postgres.ts'
import { runPabal, runShop, startShop, workersOf } from './testing/shop-process.ts'
import { newFolder } from './testing/test-shop.ts'

const missing = missingPostgres()
const importWeek = (data: string, ...more: string[]) => ['--data', data, '--once', '--json', ...more]
const figuresOf = ({ figures }: { figures: () => object }) => {
  const { seconds: _, ...rest } = figures() as { seconds: number }
  return rest
}

/** With PABAL_SOAK=1 the half year, which takes minutes. */
const soak =
  process.env['PABAL_SOAK'] === '1'
    ? { options: ['--orders', halfYearFile], figures: halfYearOfShop, kills: 100, everyMs: 8_000, timeout: 1_800_000 }
    : { options: [], figures: week, kills: 8, everyMs: 1_500, timeout: 300_000 }

/** Three orders and a return. */
const fewOrders = () =>
  writeTestFile(
    [
      header,
      '536365,a,,5,2010-12-01 08:26:00,2.55,17850,United Kingdom',
      '536365,b,,1,2010-12-01 08:26:00,3.39,17850,United Kingdom',
      '536366,a,,2,2010-12-01 08:28:00,2.55,17850,United Kingdom',
      '536367,c,,9,2010-12-01 08:34:00,1.69,13047,United Kingdom',
      'C536379,a,,-1,2010-12-01 09:41:00,2.55,17850,United Kingdom',
    ].join('\n'),
  )
const few = { orders: 3, returns: 1, shipped: 3, notifications: 4, refundedPence: 255, deadLetters: 0 }

describe.skipIf(missing)(titled('the shop on a Postgres of its own', missing), { timeout: 120_000, retry: 2 }, () => {
  it('comes to the figures of SQLite, keeps its store in mind, and leaves no server behind', async () => {
    const data = await newServerFolder()
    expect(figuresOf(await runShop(...importWeek(data, '--store', 'postgres')))).toEqual(week)
    expect(await serverPid(data)).toBeUndefined()
    expect((await runShop('--data', data, 'report')).out).toContain('2010-12-01      121   24,215   £46,376.49')
    expect((await runPabal(data, 'status')).out).toContain('nothing needs a person')
    expect(await runShop('--data', data, '--store', 'sqlite', 'orders')).toMatchObject({ code: 2, out: '' })
    expect(figuresOf(await runShop(...importWeek(data)))).toEqual(week)
    expect(await serverPid(data)).toBeUndefined()
  })

  it.runIf(existsSync('/proc/self/task'))(
    'comes to the same with four workers that are killed at random, and takes them with it',
    { timeout: soak.timeout },
    async () => {
      const data = await newServerFolder()
      const shop = startShop(importWeek(data, '--store', 'postgres', '--workers', '4', ...soak.options))
      let [hasEnded, kills] = [false, 0]
      void shop.ended.then(() => (hasEnded = true))
      await eventually('work has begun', () => hasEnded || existsSync(join(data, 'notifications.jsonl')), 60_000)
      const schedule = fc.sample(fc.tuple(fc.integer({ min: 200, max: soak.everyMs }), fc.nat({ max: 3 })), {
        numRuns: soak.kills,
        seed: 20_101_207,
      })
      const seen = new Set<number>()
      for (const [ms, who] of schedule) {
        await delay(ms)
        const workers = await workersOf(shop)
        for (const pid of workers) seen.add(pid)
        const pid = workers[who % workers.length]
        if (hasEnded || pid === undefined) break
        process.kill(pid, 'SIGKILL')
        kills++
      }
      const ended = await shop.ended
      expect(ended).toMatchObject({ code: 0, err: expect.stringMatching(/^importing .* …\n$/) as string })
      expect(figuresOf(ended)).toEqual(soak.figures)
      expect(kills).toBeGreaterThan(2)
      await eventually('no worker is left', () => [...seen].every((pid) => !isAlive(pid)))
    },
  )

  it('is adopted by the next shop after kill -9, beside which others come and go', async () => {
    const data = await newServerFolder()
    const killed = startShop(['--data', data, '--store', 'postgres', '--orders', await fewOrders()])
    await killed.said('Ctrl+C closes it')
    const server = await serverPid(data)
    killed.kill('SIGKILL')
    await killed.ended
    expect(isAlive(server!)).toBe(true)

    const shop = startShop(['--data', data, '--orders', await fewOrders()])
    await shop.said('Ctrl+C closes it')
    expect(await serverPid(data)).toBe(server)
    expect(await runShop('--data', data, 'cancel', '536365')).toMatchObject({ code: 0, err: '' })
    expect((await runPabal(data, 'log', 'list', '--key', '536365')).out).toContain('delivery.shipment-recalled')
    expect(isAlive(server!)).toBe(true)
    shop.kill('SIGINT')
    expect(await shop.ended).toMatchObject({ code: 0, err: expect.not.stringContaining('SHOP_') as string })
    await eventually('the server has ended', () => !isAlive(server!))
  })

  it('starts a server anew that was left behind and does not answer', async () => {
    const data = await newServerFolder()
    const killed = startShop(['--data', data, '--store', 'postgres', '--orders', await fewOrders()])
    await killed.said('Ctrl+C closes it')
    const server = await serverPid(data)
    killed.kill('SIGKILL')
    await killed.ended
    process.kill(server!, 'SIGSTOP')
    expect((await runShop(...importWeek(data, '--orders', await fewOrders()))).figures()).toMatchObject(few)
    await eventually('the old server has ended', () => !isAlive(server!))
  })

  it('keeps its files where the user of its server gets to, who is not root', async () => {
    const data = join(await newFolder(), 'private')
    await mkdir(data, { mode: 0o700 })
    const first = await runShop('--data', data, '--store', 'postgres', 'orders')
    const { server } = JSON.parse(await readFile(join(data, 'store.json'), 'utf8')) as { server: string }
    const folder = resolve(data, server)
    onTestFinished(() => rm(folder, { recursive: true }))
    const isRoot = process.getuid?.() === 0
    expect(first).toMatchObject({ code: 0, err: isRoot ? (expect.stringContaining(folder) as string) : '' })
    expect((await stat(folder)).uid !== 0 && isAbsolute(server) === isRoot).toBe(true)
    expect(await runShop('--data', data, 'orders')).toMatchObject({ code: 0, err: '' })
  })
})

describe.skipIf(missing)(
  titled('the shop on somebody else’s Postgres', missing),
  { timeout: 120_000, retry: 2 },
  () => {
    it('comes to the figures, and keeps no password', async () => {
      const data = await newFolder()
      const { url } = await testDatabase()
      const secret = url.replace('postgres@', 'postgres:open-sesame@')
      const once = ['--orders', await fewOrders(), '--once', '--json']
      expect((await runShop('--data', data, '--store', secret, ...once)).figures()).toMatchObject(few)
      expect(await readFile(join(data, 'store.json'), 'utf8')).not.toContain('sesame')
      expect((await runShop('--data', data, '--store', secret, 'orders', '--limit', '1')).out).toContain('536367')
      const forgotten = await runShop('--data', data, 'orders')
      expect(forgotten).toMatchObject({ code: 2, out: '' })
      expect(forgotten.err).toContain('SHOP_STORE_NEEDED')
    })

    it.each([
      ['that is no URL', () => 'postgres//me:sesame@localhost', 2, 'SHOP_STORE_INVALID'],
      ['of another kind', () => 'mysql://me:sesame@localhost/shop', 2, 'SHOP_STORE_INVALID'],
      ['where nobody listens', () => 'postgres://me:sesame@127.0.0.1:1/shop', 3, 'SHOP_STORE_UNREACHABLE'],
      ['without such a database', (url: string) => `${url}_not`, 3, 'SHOP_STORE_NO_DATABASE'],
      ['for another user', (url: string) => url.replace('postgres@', 'me:sesame@'), 3, 'SHOP_STORE_DENIED'],
    ])('says what is wrong with one %s, in a line, without the password', async (_, of, code, text) => {
      const data = join(await newFolder(), 'data')
      const ended = await runShop(...importWeek(data, '--store', of((await testDatabase()).url)))
      expect(ended).toMatchObject({ code, out: '' })
      expect(ended.err).toContain(text)
      expect(ended.err).not.toMatch(/sesame| {4}at /)
      expect(existsSync(data)).toBe(false)
    })

    it('says that it may not create schemas', async () => {
      const { url, name, sql } = await testDatabase()
      const role = `weak_${name}`
      await sql(`CREATE ROLE ${role} LOGIN`)
      onTestFinished(async () => void (await sql(`DROP ROLE ${role}`)))
      const data = await newFolder()
      const ended = await runShop(...importWeek(data, '--store', url.replace('postgres@', `${role}@`)))
      expect(ended).toMatchObject({ code: 3, out: '' })
      expect(ended.err).toContain('SHOP_STORE_RIGHTS')
    })
  },
)

describe('the shop on SQLite', () => {
  it('has no workers, and says so', async () => {
    const ended = await runShop(...importWeek(await newFolder(), '--workers', '2'))
    expect(ended).toMatchObject({ code: 2, out: '' })
    expect(ended.err).toContain('SHOP_STORE_WORKERS')
  })
})
