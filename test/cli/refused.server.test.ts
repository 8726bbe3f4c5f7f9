/** What a context could not take of what its broker brought, from the command line: looked at, taken after a correction, thrown away. */

import type { App } from 'pabal'
import { describe, expect, onTestFinished, test } from 'vitest'
import { missingRedis } from '../../tools/servers/redis.ts'
import { operatedFolder } from '../support/cli.ts'
import { eventually } from '../support/eventually.ts'
import { besides, testRedis } from '../support/redis-streams.ts'
import { createBilling } from '../support/refusing-shop.ts'
import { titled } from '../support/require-server.ts'

const program = new URL('../support/refusing-shop.ts', import.meta.url).pathname
const [north, south] = ['urn:acme:erp:north', 'urn:acme:erp:south']

const invoice = (source: string, n: number, total = n): string =>
  JSON.stringify({
    specversion: '1.0',
    id: `${n}`,
    source,
    type: 'acme.invoiced.v1',
    subject: `invoice-${n}`,
    data: { invoiceId: `invoice-${n}`, total },
  })

interface Listed {
  readonly refused: readonly { readonly id: string; readonly event: { readonly key: string } | null }[]
}

const missing = missingRedis()
describe.skipIf(missing)(titled('what was refused', missing), { timeout: 180_000 }, () => {
  /** A service that was told of one branch only; the other sends too, and somebody sends what is nothing. */
  const mistaken = async () => {
    const shop = await operatedFolder()
    const { url } = await testRedis()
    const redis = besides(url)
    const running: App[] = []
    const configure = (sources: readonly string[]) =>
      shop.configure(
        `import { createBilling } from ${JSON.stringify(program)}\nexport default () => createBilling(import.meta.dirname, ${JSON.stringify({ url, sources })})\n`,
      )
    const run = async (sources: readonly string[]): Promise<App> => {
      configure(sources)
      const app = createBilling(shop.folder, { url, sources })
      onTestFinished(() => app.stop())
      await app.start()
      running.push(app)
      return app
    }
    const list = async (...more: string[]) =>
      (await shop.pabal(['refused', 'list', '-o', 'json', ...more])).json<Listed>().refused
    const first = await run([north])
    for (const text of [invoice(north, 1), invoice(south, 2), invoice(south, 3), 'hello \u001b[31m', invoice(north, 4)])
      await redis.xadd('pabal.erp', '*', 'event', text)
    const paid = () =>
      shop.rows<{ invoice_id: string }>('billing', 'SELECT * FROM payable').map((row) => row.invoice_id)
    await eventually('what is taken is paid', () => paid().length === 2)
    await eventually('the rest is refused', async () => (await redis.xlen('pabal.erp.billing.refused')) === 3)
    return { shop, redis, run, list, paid, first }
  }

  test('is listed with its reason, shown whole, and taken once its context takes it', async () => {
    const { shop, run, list, paid, first } = await mistaken()
    const listed = await shop.pabal(['refused', 'list'])
    expect(listed).toMatchObject({ code: 0, err: '' })
    expect(listed.out).toMatch(/billing +erp +redis-streams +acme\.invoiced\.v1 .*PABAL_MESSAGE_INVALID.*south/)
    const refused = await list()
    expect(refused.map(({ event }) => event?.key)).toEqual(['invoice-2', 'invoice-3', undefined])
    const [second, , junk] = refused
    const shown = await shop.pabal(['refused', 'show', junk!.id])
    expect(shown.out).toContain('no event can be read in it')
    expect(shown.out).toContain('hello \\x1b[31m')
    expect((await shop.pabal(['refused', 'show', second!.id])).out).toContain(`"total":2`)

    // As it is, it is refused again, and stays.
    const again = await shop.pabal(['refused', 'retry', second!.id])
    expect(again.out).toMatch(/taken: 0, refused again: 1/)
    expect(await list()).toHaveLength(3)

    await first.stop()
    await run([north, south])
    const planned = await shop.pabal(['refused', 'retry', '--all'])
    expect(planned).toMatchObject({ code: 2, err: expect.stringContaining('refused retry --all --expect 3 --yes') })
    expect(await shop.pabal(['refused', 'retry', '--all', '--expect', '2', '--yes'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('PABAL_PLAN_CHANGED'),
    })
    const retried = await shop.pabal(['refused', 'retry', '--all', '--expect', '3', '--yes', '-o', 'json'])
    expect(retried.json()).toMatchObject({ action: 'retry', taken: 2, refused: [{ id: junk!.id }] })
    await eventually('they are paid', () => paid().length === 4)
    expect(paid().toSorted()).toEqual(['invoice-1', 'invoice-2', 'invoice-3', 'invoice-4'])
    expect((await list()).map(({ id }) => id)).toEqual([junk!.id])
  })

  test('is thrown away with a reason, which stays in the log', async () => {
    const { shop, redis, list } = await mistaken()
    const [second, third, junk] = await list()
    expect(await shop.pabal(['refused', 'discard', junk!.id, '--yes'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('--reason'),
    })
    const why = ['--reason', 'a test of theirs', '--by', 'kim']
    expect((await shop.pabal(['refused', 'discard', junk!.id, ...why])).code).toBe(2)
    expect(await list()).toHaveLength(3)
    const done = await shop.pabal(['refused', 'discard', junk!.id, ...why, '--yes'])
    expect(done.out).toContain('thrown away: 1 message')
    expect((await list()).map(({ id }) => id)).toEqual([second!.id, third!.id])
    const logged = await shop.pabal(['log', 'list', '--type', 'pabal.*', '-o', 'json'])
    expect(logged.out).toContain('pabal.refused-discarded')
    await redis.del('pabal.erp.billing.refused')
    expect((await shop.pabal(['refused', 'list'])).out).toContain('nothing was refused')
    expect(await shop.pabal(['refused', 'show', junk!.id])).toMatchObject({ code: 2 })
    expect(await shop.pabal(['refused', 'retry'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('which ones?'),
    })
  })
})
