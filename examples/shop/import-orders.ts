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
import { translate } from './retail/translate.ts'

export interface ImportProgress {
  readonly readBytes: number
  readonly fileBytes: number
  /** Received so far, known ones too. */
  readonly invoices: number
  /** The last one's. */
  readonly day: string
}

export interface ImportOptions {
  /** '2010-12-07': nothing of a later day. Default: the whole file. */
  readonly lastDay?: string | undefined
  readonly onProgress?: (progress: ImportProgress) => void
  /** Ends the import between two transactions, with an AbortError. */
  readonly signal?: AbortSignal
}

/** A commit waits for the disk: one for many invoices. What a crash undoes comes again with the file. */
const invoicesPerTransaction = 300

/** @throws ShopInputError after everything that was complete before it has been received */
export async function importOrders(app: App, path: string, options: ImportOptions = {}): Promise<void> {
  const { lastDay, onProgress, signal } = options
  const received = { invoices: 0, day: '' }
  let waiting: (Invoice | BadRow)[] = []
  const receiveWaiting = async () => {
    const batch = waiting
    waiting = []
    await app.context(ordering).transaction(async () => {
      for (const item of batch) await receive(app, item)
    })
  }

  const rows = readRetailRows(path, {
    ...(signal === undefined ? {} : { signal }),
    onProgress: (bytes) => onProgress?.({ ...bytes, ...received }),
  })
  try {
    for await (const item of groupInvoices(rows, lastDay === undefined ? {} : { lastDay })) {
      waiting.push(item)
      if (item.kind === 'invoice') {
        received.invoices++
        received.day = item.day
      }
      if (waiting.length >= invoicesPerTransaction) await receiveWaiting()
      signal?.throwIfAborted()
    }
  } finally {
    if (waiting.length > 0 && signal?.aborted !== true) await receiveWaiting()
  }
}

async function receive(app: App, item: Invoice | BadRow): Promise<void> {
  if (item.kind === 'bad-row') {
    const { line, invoiceNo = null, reason, text } = item
    // Known by its content: a file of other lines has it at another number.
    const rowId = createHash('sha256').update(text).digest('base64url')
    await app.send(RefuseRow, { rowId, line, invoiceNo, reason, text })
    return
  }
  const options = { idempotencyKey: `invoice:${item.invoiceNo}` }
  try {
    const outcome = translate(item)
    if (outcome.kind === 'place-order') await app.send(PlaceOrder, outcome, options)
    else if (outcome.kind === 'return') await app.send(AcceptReturn, outcome, options)
    else await app.send(RefuseInvoice, refusal(outcome.reason, item), options)
  } catch (error) {
    // The number is known as something else, for example refused in a file that had only a part of it.
    if (!isPabalError(error) || error.code !== 'PABAL_IDEMPOTENCY_KEY_REUSED') throw error
  }
}

const refusal = (reason: 'no-customer' | 'return-without-customer' | 'no-valid-line' | 'adjustment', invoice: Invoice) => ({
  invoiceNo: invoice.invoiceNo,
  reason,
  customerId: invoice.customerId ?? null,
  country: invoice.country,
  day: invoice.day,
  lines: invoice.rows.map(({ stockCode, quantity, unitPence }) => ({ stockCode, quantity, unitPence })),
})
