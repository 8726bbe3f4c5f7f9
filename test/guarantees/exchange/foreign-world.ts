/** A context that handles the invoices of a foreign producer, and what it has handled; beside it, what its transport brought. */

import type { DatabaseSync } from 'node:sqlite'
import { type App, createApp, defineContext, definePublicEvent, type PublicEventDefinition, type Store } from 'pabal'
import { type SqliteTx, sqlite } from 'pabal/sqlite'
import { onTestFinished } from 'vitest'
import { z } from 'zod'
import { defaultLimits } from '../../../src/core/limits.ts'
import { type CarriedOptions, over } from '../../../src/exchange/exchange.ts'
import type { Incoming, OpenTransport, Take, Taken, Transport } from '../../../src/exchange/transport.ts'
import { testFolder } from '../../support/folder.ts'
import { enter, ledgerOf, prepareLedger, sequencesOf } from '../../support/shop.ts'

/** `n` counts the events of an invoice, so that what is handled can be held against it. */
export const Invoice = z.object({ invoiceId: z.string(), n: z.int() })
export const InvoicedV1 = definePublicEvent('acme.invoiced.v1', {
  kind: 'domain',
  schema: Invoice,
  key: ({ invoiceId }) => invoiceId,
})
export const billing = defineContext('billing', { store: sqlite, events: [] })

export const channel = { context: 'erp' }
export const source = 'urn:acme:erp'
/** As the producer calls it, in letters that no type of ours may have. */
export const invoiced = 'com.acme.erp.Invoiced'
export const producer = { sources: [source], events: { [invoiced]: InvoicedV1 } }

/** What the producer sends, in whatever form. */
export interface Sent {
  readonly attributes: Readonly<Record<string, string>>
  /** As text; of JSON unless `datacontenttype` says otherwise. */
  readonly data: string
}

export const invoice = (invoiceId: string, n: number, attributes: Sent['attributes'] = {}): Sent => ({
  attributes: {
    specversion: '1.0',
    id: `${invoiceId}-${n}`,
    source,
    type: invoiced,
    subject: invoiceId,
    datacontenttype: 'application/json',
    ...attributes,
  },
  data: JSON.stringify({ invoiceId, n }),
})

export const idOf = ({ attributes }: Sent): string => attributes['id']!

/** The JSON of CloudEvents, by hand: nothing of ours tests itself. */
export const structured = ({ attributes, data }: Sent): string => {
  const isJson = /json/.test(attributes['datacontenttype'] ?? 'json')
  return `${JSON.stringify(attributes).slice(0, -1)},"data":${isJson ? data : JSON.stringify(data)}}`
}

/** Between a transport and its receiver. */
export class Watch {
  /** Ids of what was refused, or why, where it has none. */
  readonly refused = new Map<string, Error>()
  /** So many more batches are entered, and before they are acknowledged the process is gone, as far as the broker can tell. */
  deaths = 0
  taken = 0

  of(plain: Transport): Transport {
    return {
      ...plain,
      open: async (options): Promise<OpenTransport> => {
        const open = await plain.open(options)
        const resources = open.resources?.bind(open)
        return {
          publish: (...given) => open.publish(...given),
          receive: (of, subscriber, take) => open.receive(of, subscriber, this.#watched(take)),
          ...(resources === undefined ? {} : { resources }),
          [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
        }
      },
    }
  }

  #watched(take: Take): Take {
    return async (batch) => {
      const answers = await take(batch)
      if (this.deaths > 0) {
        this.deaths--
        throw new Error('the process has died before it could acknowledge')
      }
      for (const [at, answer] of answers.entries()) this.#note(batch[at]!, answer)
      this.taken += batch.length
      return answers
    }
  }

  #note(incoming: Incoming, answer: Taken): void {
    if (answer !== undefined) this.refused.set(idIn(incoming) ?? answer.refused.message, answer.refused)
  }
}

const idIn = (incoming: Incoming): string | undefined => {
  try {
    return String(incoming.decode(defaultLimits).attributes.get('id'))
  } catch {
    return undefined
  }
}

export interface ForeignWorld {
  readonly path: string
  readonly watch: Watch
  /** A process of `billing`. */
  app(options?: ForeignAppOptions): App
  /** Per key, the numbers that were handled, in the order of that. */
  handled(): Readonly<Record<string, readonly number[]>>
}

export interface ForeignAppOptions {
  readonly definition?: PublicEventDefinition<string, z.infer<typeof Invoice>>
  readonly carried?: CarriedOptions
  /** Told of each event before it is noted. */
  readonly at?: (event: Told) => void
  /** Wraps the store, to take a guard out. */
  readonly store?: (plain: SqliteStore) => SqliteStore
  readonly onWarning?: (what: string, error: unknown) => void
}

type SqliteStore = Store<SqliteTx, DatabaseSync>

export interface Told {
  readonly id: string
  readonly source: string
  readonly type: string
  readonly key: string
  readonly sequence: number
  readonly time: string
  readonly correlationId: string
  readonly data: z.infer<typeof Invoice>
}

export const foreignWorld = async (transport: Transport): Promise<ForeignWorld> => {
  const path = `${await testFolder()}/billing.db`
  const watch = new Watch()
  return {
    path,
    watch,
    app: ({
      definition = InvoicedV1,
      carried,
      at,
      store = (plain: SqliteStore) => plain,
      onWarning = () => {},
    } = {}) => {
      const handler = billing.consume(
        definition,
        'pay',
        (event, { tx }) => {
          at?.(event)
          enter(tx, 'pay', { id: event.id, key: event.key, sequence: event.data.n })
        },
        { retry: 'none' },
      )
      const app = createApp({
        onWarning,
        leaseMs: 1_000,
        exchange: over(watch.of(transport), carried ?? { foreign: { erp: producer } }),
        contexts: [
          billing.with({
            store: store(sqlite(path)),
            prepare: prepareLedger,
            handlers: [handler],
          }),
        ],
      })
      onTestFinished(() => app.stop({ graceMs: 100 }))
      return app
    },
    handled: () => sequencesOf(ledgerOf(path)),
  }
}

/** 1, 2, 3 … of each of these keys. */
export const whole = (keys: readonly string[], count: number): Record<string, number[]> =>
  Object.fromEntries(keys.map((key) => [key, Array.from({ length: count }, (_, i) => i + 1)]))
