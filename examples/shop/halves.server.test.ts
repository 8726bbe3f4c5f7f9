import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { missingKafka } from '../../tools/servers/kafka.ts'
import { missingNats } from '../../tools/servers/nats.ts'
import { missingRabbit } from '../../tools/servers/rabbitmq.ts'
import { missingRedis } from '../../tools/servers/redis.ts'
import { titled } from '../../test/support/require-server.ts'
import { missingSnsSqs } from '../../tools/servers/sns-sqs.ts'
import { firstWeekOfShop as week } from './testing/ledger.ts'
import { runPabal, runShop, startShop, workersOf } from './testing/shop-process.ts'
import { newFolder } from './testing/test-shop.ts'

const importWeek = (data: string, ...more: string[]) => ['--data', data, '--once', '--json', ...more]

for (const [name, missing] of [
  ['rabbitmq', missingRabbit()],
  ['kafka', missingKafka()],
  ['nats', missingNats()],
  ['redis', missingRedis()],
  ['sns-sqs', missingSnsSqs()],
] as const)
  describe.skipIf(missing)(titled(`the shop in two processes over ${name}`, missing), { timeout: 180_000 }, () => {
    it('comes to the figures of the shop in one', async () => {
      const { code, err, figures } = await runShop(...importWeek(await newFolder(), '--exchange', name))
      expect({ code, err }).toMatchObject({ code: 0 })
      expect(figures()).toMatchObject(week)
    })
  })

const missing = missingRedis()
describe.skipIf(missing)(titled('the shop in two processes', missing), { timeout: 180_000 }, () => {
  it('over two brokers, comes to the same figures, and shows each half by itself', async () => {
    const data = await newFolder()
    const { figures } = await runShop(...importWeek(data, '--exchange', 'redis,sns-sqs'))
    expect(figures()).toMatchObject(week)
    const { out } = await runPabal(data, 'status')
    expect(out).toContain('nothing needs a person')
    expect(out).toContain('received/delivery__deliveries')
  })

  it('which was one before with a backlog, goes on where it stood', async () => {
    const data = await newFolder()
    const shop = startShop(importWeek(data))
    await eventually('it has begun', () => existsSync(join(data, 'reporting.db')))
    shop.kill('SIGKILL')
    await shop.ended
    const { figures } = await runShop(...importWeek(data, '--exchange', 'redis'))
    expect(figures()).toMatchObject(week)
    // Not back again by mistake.
    expect(await runShop(...importWeek(data))).toMatchObject({
      code: 2,
      err: expect.stringContaining('SHOP_EXCHANGE_OTHER') as string,
    })
  })

  it('comes to the same figures when all of it is killed again and again, with what was on the brokers', async () => {
    const data = await newFolder()
    for (const ms of [1_500, 2_500, 3_500]) {
      const shop = startShop(importWeek(data, '--exchange', 'redis'))
      const killing = setTimeout(() => shop.kill('SIGKILL'), ms)
      await shop.ended
      clearTimeout(killing)
    }
    const { figures } = await runShop(...importWeek(data, '--exchange', 'redis'))
    expect(figures()).toMatchObject(week)
  })

  it.runIf(existsSync('/proc/self/task'))(
    'replaces the other half when that is killed, and takes orders meanwhile',
    async () => {
      const data = await newFolder()
      const shop = startShop(['--data', data, '--exchange', 'redis'])
      await shop.said('Ctrl+C closes it')
      const [half] = await workersOf(shop)
      process.kill(half!, 'SIGKILL')
      expect(await runShop('--data', data, 'cancel', '536365')).toMatchObject({ code: 0, err: '' })
      expect(readFileSync(join(data, 'notifications.jsonl'), 'utf8')).toContain('536365')
      shop.kill('SIGINT')
      expect(await shop.ended).toMatchObject({ code: 0 })
    },
  )

  it.each([
    ['carrier-pigeon', 'SHOP_EXCHANGE_INVALID'],
    ['amqp://', 'SHOP_EXCHANGE_INVALID'],
    ['redis,nats,kafka', 'SHOP_EXCHANGE_INVALID'],
  ])('is not made over %s', async (given, code) => {
    const { err, code: exitCode } = await runShop(...importWeek(await newFolder(), '--exchange', given))
    expect(err).toContain(code)
    expect(exitCode).toBe(2)
  })

  it('is not made of more than two', async () => {
    const { err } = await runShop(...importWeek(await newFolder(), '--exchange', 'redis', '--workers', '2'))
    expect(err).toContain('SHOP_EXCHANGE_WORKERS')
  })
})
