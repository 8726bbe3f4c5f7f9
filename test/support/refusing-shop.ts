/** A context that receives invoices of a foreign service over Redis Streams, as a configuration of the command line has it. */

import { join } from 'node:path'
import { Redis } from 'ioredis'
import { type App, createApp, defineContext, definePublicEvent } from 'pabal'
import { redisStreams } from 'pabal/redis-streams'
import { sqlite } from 'pabal/sqlite'
import { z } from 'zod'

const InvoicedV1 = definePublicEvent('acme.invoiced.v1', {
  kind: 'domain',
  schema: z.object({ invoiceId: z.string(), total: z.int() }),
  key: ({ invoiceId }) => invoiceId,
})
const billing = defineContext('billing', { store: sqlite, events: [] })

export const createBilling = (
  folder: string,
  { url, sources }: { readonly url: string; readonly sources: readonly string[] },
): App =>
  createApp({
    contexts: [
      billing.with({
        store: sqlite(join(folder, 'billing.db')),
        prepare: (tx) => tx.run('CREATE TABLE IF NOT EXISTS payable (invoice_id TEXT, total INTEGER)'),
        handlers: [
          billing.consume(InvoicedV1, 'pay', ({ data }, { tx }) =>
            tx.run('INSERT INTO payable VALUES (?, ?)', data.invoiceId, data.total),
          ),
        ],
      }),
    ],
    exchange: redisStreams({
      client: (settings) => new Redis(url, settings),
      leaseMs: 1_000,
      foreign: { erp: { sources, events: [InvoicedV1] } },
    }),
  })
