import { createApp, defineContext, defineEvent } from 'pabal'
import { postgres } from 'pabal/postgres'
import { onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { testDatabase } from '../../../test/support/postgres.ts'

test.each(['list', 'paid', 'call'])('m %s', { timeout: 60_000 }, async (which) => {
  const { pool } = await testDatabase()
  const schema = z.object({ id: z.string() })
  const key = ({ id }: { id: string }): string => id
  const Placed = defineEvent(`c.order-placed`, { schema, key })
  const Paid = defineEvent(`c.order-paid`, { schema, key })
  const c = defineContext('c', { store: postgres, events: [Placed, Paid] })
  const handlers = { list: () => c.on(Placed, 'list', () => {}), paid: () => c.on([Paid], 'paid', () => {}), call: () => c.on(Placed, 'call', () => {}, { effects: 'external', startAt: 'beginning' }) }
  const counts = new Map<string, number>()
  for (const n of [1, 2]) {
    const own = pool()
    own.on('connect', (client: any) => { const q = client.query.bind(client); client.query = (a: any, ...r: any[]) => { if (n === 2 && on) counts.set(a.text ?? a, (counts.get(a.text ?? a) ?? 0) + 1); return q(a, ...r) } })
    const app = createApp({ contexts: [c.with({ store: postgres(own), handlers: [handlers[which as 'list']()] })] })
    onTestFinished(() => app.stop())
    await app.start()
    await app.context(c).transaction(({ raise }) => { for (let i = 0; i < 20; i++) raise(Placed, { id: `k${i % 4}` }) })
    await app.settle()
  }
  await new Promise((r) => setTimeout(r, 2000))
  on = true
  await new Promise((r) => setTimeout(r, 5000))
  console.log(which, [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8).map(([t, c]) => c + ' ' + t.replaceAll(/\s+/g, ' ').slice(0, 150)).join('\n'))
})
let on = false
