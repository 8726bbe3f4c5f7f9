import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { PabalError } from 'pabal'
import { describe, expect, it } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { createShop } from './app.ts'
import { ChangeAddress } from './contracts/ordering.ts'
import { halfYearFile, header, writeTestFile } from './retail/testing.ts'
import { tell } from './shop-error.ts'
import { firstWeekOfShop as week } from './testing/ledger.ts'
import { runPabal, runShop, startShop } from './testing/shop-process.ts'
import { line, newFolder, place } from './testing/test-shop.ts'

const importWeek = (data: string, ...more: string[]) => ['--data', data, '--once', '--json', ...more]

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

// Each test runs whole processes, and a busy machine has few processors.
describe('the shop as a process', { timeout: 120_000 }, () => {
  it('prints the figures of the first trading week as one JSON line, with the keys in their order', async () => {
    const { code, out, figures } = await runShop(...importWeek(await newFolder()))
    expect({ code, lines: out.split('\n').length }).toEqual({ code: 0, lines: 2 })
    const { seconds, ...rest } = figures()
    expect(rest).toEqual(week)
    expect(seconds).toBeGreaterThan(0)
    expect(Object.keys(figures()).join(' ')).toBe(
      'orders units revenuePence declined shipped returns returnsUnmatched refundedPence refused notifications events deadLetters seconds',
    )
  })

  it('comes to the same figures after kill -9 at any moment, as often as it likes', async () => {
    const data = await newFolder()
    let kills = 0
    // Shorter than a whole run, so that most of them hit.
    const afterMs = fc.sample(fc.integer({ min: 100, max: 1_500 }), { numRuns: 8, seed: 20_101_201 })
    for (const ms of afterMs) {
      const shop = startShop(importWeek(data))
      const killing = setTimeout(() => shop.kill('SIGKILL'), ms)
      if ((await shop.ended).code === null) kills++
      clearTimeout(killing)
    }
    expect(kills).toBeGreaterThan(0)
    const { seconds: _, ...figures } = (await runShop(...importWeek(data))).figures()
    expect(figures).toEqual(week)
  })

  it('parks the key of --fail-key, handles all else, and goes on without it after a retry', async () => {
    const data = await newFolder()
    const failed = await runShop(...importWeek(data, '--fail-key', '536368'))
    expect(failed.code).toBe(0)
    expect(failed.figures()).toMatchObject({ ...week, shipped: 564, notifications: 634, events: 3_131, deadLetters: 1 })
    expect((await runShop(...importWeek(data))).figures()).toMatchObject({ shipped: 564, deadLetters: 1 })
    expect((await runPabal(data, 'dead', 'list')).out).toContain('--fail-key 536368: shipping this order fails')
    expect(await runPabal(data, 'dead', 'retry', '--all', '--yes')).toMatchObject({ code: 0 })
    expect((await runShop(...importWeek(data))).figures()).toMatchObject(week)
    expect((await runPabal(data, 'status')).out).toContain('nothing needs a person')
  })

  it('stays open after its summary, takes what other processes ask for, and ends in order at a signal', async () => {
    const data = await newFolder()
    const shop = startShop(['--data', data])
    await shop.said('Ctrl+C closes it')
    expect(await runShop('--data', data, 'cancel', '536365')).toMatchObject({ code: 0 })
    expect(await runShop('--data', data, 'cancel', '536365')).toMatchObject({ code: 1 })
    expect(await runShop('--data', data, 'address', '536366', '1 Jongno, Seoul')).toMatchObject({ code: 0, err: '' })
    expect(await runShop('--data', data, 'address', '536366')).toMatchObject({ out: '1 Jongno, Seoul\n' })
    shop.kill('SIGINT')
    const { code, out } = await shop.ended
    expect(code).toBe(0)
    expect(out).toContain('567   119,380 units for £234,397.28')
  })

  it.runIf(existsSync('/proc/self/task')).each(['SIGTERM', 'SIGKILL'] as const)(
    'takes its delivery service with it at %s',
    async (signal) => {
      const data = await newFolder()
      {
        // A change of address waits, so that the service is needed.
        await using shop = createShop({ data })
        await place(shop, '1', line('a', 1, 100))
        await shop.app.send(ChangeAddress, { orderId: '1', address: '1 High Street' })
      }
      const shop = startShop(['--data', data])
      const [service] = await eventually('it has a delivery service', async () => {
        const children = await readFile(`/proc/${shop.pid}/task/${shop.pid}/children`, 'utf8')
        return children === '' ? undefined : children.trim().split(' ').map(Number)
      })
      shop.kill(signal)
      await shop.ended
      await eventually('it has ended too', () => !isAlive(service!))
    },
  )

  it('says that it was interrupted before everything was settled', async () => {
    const data = await newFolder()
    const shop = startShop(['--data', data, '--once', '--orders', halfYearFile])
    await eventually('it has begun', () => existsSync(join(data, 'reporting.db')))
    shop.kill('SIGINT')
    expect((await shop.ended).code).toBe(130)
  })

  it('lists orders, refusals and sales, as tables and as JSON lines', async () => {
    const data = await newFolder()
    await runShop(...importWeek(data))
    const list = async (...args: string[]) => (await runShop('--data', data, ...args)).out
    expect(await list('report')).toContain('2010-12-01      121   24,215   £46,376.49')
    expect(await list('report', '--by', 'country')).toContain('United Kingdom      527')
    expect((await list('--json', 'orders', '--limit', '600')).split('\n')).toHaveLength(567 + 1)
    expect((await list('--json', 'refused', '--limit', '600')).split('\n')).toHaveLength(122 + 1)
    expect(await list('--json', 'refused', '--reason', 'bad-row')).toBe('')
    const unmatched = (await list('--json', 'unmatched', '--limit', '600')).trim().split('\n')
    expect(new Set(unmatched.map((text) => (JSON.parse(text) as { invoice: string }).invoice)).size).toBe(52)
  })
})

describe('what goes wrong', { timeout: 120_000 }, () => {
  it.each([
    ['an unknown option', ['--frobnicate'], 2, 'SHOP_USAGE'],
    ['an unknown command', ['frobnicate'], 2, 'SHOP_USAGE'],
    ['a share beyond 1', ['--delivery-fail-rate', '2'], 2, 'SHOP_USAGE'],
    ['a file that is not there', ['--orders', 'no.csv', '--once'], 1, 'SHOP_FILE_NOT_FOUND'],
    ['a file that is no CSV', ['--orders', import.meta.filename, '--once'], 1, 'SHOP_FILE_NOT_CSV'],
    ['an order that is not there', ['cancel', '1'], 1, 'There is no order 1.'],
  ])('%s is one message with its remedy', async (_, args, code, text) => {
    const ended = await runShop('--data', join(await newFolder(), 'data'), ...args)
    expect(ended).toMatchObject({ code, out: '' })
    expect(ended.err).toContain(text)
    expect(ended.err).not.toContain('    at ')
  })

  it('a truncated gzip takes nothing in, and creates nothing', async () => {
    const data = join(await newFolder(), 'data')
    const whole = await readFile(halfYearFile)
    const path = await writeTestFile(whole.subarray(0, whole.length / 2), 'orders.csv.gz')
    const { code, out, err } = await runShop(...importWeek(data, '--orders', path))
    expect({ code, out, made: existsSync(data) }).toEqual({ code: 1, out: '', made: false })
    expect(err).toContain('SHOP_FILE_TRUNCATED')
    expect(err).toContain('remedy: Fetch the file again')
  })

  it('what comes before an unreadable end of the file is kept and settled, and the error told at the end', async () => {
    const rows = gunzipSync(await readFile(halfYearFile))
      .toString()
      .split('\n')
    const day = rows.slice(
      1,
      rows.findIndex((row) => row.includes(',2010-12-02 ')),
    )
    const torn = [header, ...day, '536540,1,A,1,2010-12-02 08:00:00,1,1,', 'x'.repeat(200_000)].join('\n')
    const { code, figures, err } = await runShop(
      ...importWeek(await newFolder(), '--orders', await writeTestFile(torn)),
    )
    expect(code).toBe(1)
    expect(figures()).toMatchObject({ orders: 121, units: 24_215, shipped: 121, deadLetters: 0 })
    expect(err).toContain('SHOP_FILE_NOT_CSV')
  })

  it('a folder that cannot be made and a file that is no database are told with exit code 3', async () => {
    const folder = await newFolder()
    await writeFile(join(folder, 'ordering.db'), 'this is no database, it only has its name')
    const foreign = await runShop(...importWeek(folder))
    expect(foreign).toMatchObject({ code: 3, out: '' })
    expect(foreign.err).toContain('PABAL_STORE_FOREIGN')
    const unreachable = await runShop(...importWeek(join(folder, 'ordering.db', 'below')))
    expect(unreachable).toMatchObject({ code: 3, out: '' })
    expect(unreachable.err).toContain('PABAL_STORE_UNREACHABLE')
  })

  it('a database that another process holds for too long is told with exit code 3', () => {
    expect(tell(new PabalError('PABAL_STORE_BUSY', 'ordering.db: locked'))).toMatchObject({ exitCode: 3 })
  })
})
