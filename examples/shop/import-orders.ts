/**
 * Feeds a retail file to ordering: rows → invoices → commands. Only what is outside of every context knows the file.
 *
 * Receipt is idempotent: an invoice is known by its number, whatever became of it, and the first receipt wins. So a file can be
 * imported again, or another one that overlaps it, and a killed import simply begins from the start.
 */

import { createHash } from 'node:crypto'
import { type App, isPabalError } from 'pabal'
import { AcceptReturn, PlaceOrder, RefuseInvoice, RefuseRow } from './contracts/ordering.ts'
import { ordering } from './ordering/context.ts'
import { groupInvoices, type Invoice } from './retail/invoices.ts'
import type { BadRow } from './retail/row.ts'
import { readRetailRows } from './retail/rows.ts'
import { type RefusalReason, translate } from './retail/translate.ts'

export interface ImportProgress {
  readonly readBytes: number
  readonly fileBytes: number
  /** Received so far, known ones too. */
  readonly invoices: number
  /** Of the last one. */
  readonly day: string
}

export interface ImportOptions {
  /** '2010-12-07': nothing of a later day. Default: the whole file. */
  readonly lastDay?: string | undefined
  readonly onProgress?: (progress: ImportProgress) => void
  /** Ends the import between two transactions, with an AbortError. */
  readonly signal?: AbortSignal
}

export interface OrderFile {
  /** Sends everything in it to ordering. @throws ShopInputError after all that was complete before it has been received */
  receive(app: App): Promise<void>
}

type Item = Invoice | BadRow

/** A commit waits for the disk, so there is one for many invoices: about 250. What a crash undoes comes again with the file. */
const rowsPerTransaction = 5_000

/** A file that can be read, at least at its beginning. @throws ShopInputError */
export async function openOrderFile(path: string, options: ImportOptions = {}): Promise<OrderFile> {
  const { lastDay, onProgress, signal } = options
  let invoices = 0
  let day = ''
  const rows = readRetailRows(path, {
    ...(signal === undefined ? {} : { signal }),
    onProgress: (bytes) => onProgress?.({ ...bytes, invoices, day }),
  })
  const items = groupInvoices(rows, lastDay === undefined ? {} : { lastDay })
  const first = await items.next()

  return {
    async receive(app) {
      for await (const batch of batches(first, items)) {
        signal?.throwIfAborted()
        const received = batch.filter((item) => item.kind === 'invoice')
        await app.context(ordering).transaction(async () => {
          for (const item of batch) await send(app, item)
        })
        invoices += received.length
        day = received.at(-1)?.day ?? day
      }
    },
  }
}

/** What was complete before an error comes before it. */
async function* batches(first: IteratorResult<Item>, rest: AsyncGenerator<Item>): AsyncGenerator<Item[]> {
  let batch: Item[] = []
  let rows = 0
  try {
    for (let next = first; next.done !== true; next = await rest.next()) {
      batch.push(next.value)
      rows += next.value.kind === 'invoice' ? next.value.rows.length : 1
      if (rows < rowsPerTransaction) continue
      yield batch
      batch = []
      rows = 0
    }
  } catch (error) {
    if (batch.length > 0) yield batch
    throw error
  } finally {
    await rest.return(undefined)
  }
  if (batch.length > 0) yield batch
}

async function send(app: App, item: Item): Promise<void> {
  if (item.kind === 'bad-row') return keep(app, item)
  const options = { idempotencyKey: `invoice:${item.invoiceNo}` }
  try {
    const outcome = translate(item)
    if (outcome.kind === 'place-order') await app.send(PlaceOrder, outcome, options)
    else if (outcome.kind === 'return') await app.send(AcceptReturn, outcome, options)
    else await app.send(RefuseInvoice, asRefused(item, outcome.reason), options)
  } catch (error) {
    if (!isPabalError(error)) throw error
    // The number is known as something else: an earlier file had a part of the invoice that meant another thing.
    if (error.code === 'PABAL_IDEMPOTENCY_KEY_REUSED') return
    // More lines, or more money, than an order can hold: no reason to stop for everybody else.
    if (!error.code.startsWith('PABAL_PAYLOAD_')) throw error
    const { invoiceNo, rows } = item
    const reason = error.message
    await keep(app, { kind: 'bad-row', line: rows[0]?.line ?? 0, invoiceNo, reason, text: `invoice ${invoiceNo}` })
  }
}

async function keep(app: App, { line, invoiceNo, reason, text }: BadRow): Promise<void> {
  // Known by its content: another file has it at another line.
  const rowId = createHash('sha256').update(text).digest('base64url')
  await app.send(RefuseRow, { rowId, line, invoiceNo: invoiceNo ?? null, reason, text })
}

const asRefused = ({ invoiceNo, customerId, country, day, rows }: Invoice, reason: RefusalReason) => {
  const lines = rows.map(({ stockCode, quantity, unitPence }) => ({ stockCode, quantity, unitPence }))
  return { invoiceNo, reason, customerId: customerId ?? null, country, day, lines }
}
