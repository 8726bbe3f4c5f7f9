/** The hand-written way: an outbox table with the columns and indexes of pabal's event table, on `node:sqlite` alone. */

import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { systemEnvironment } from '../../src/index.ts'
import { migrations } from '../../src/store/sqlite/migrate.ts'
import { insertOrder, newOrder, type Order, orderTable } from './orders.ts'

const columns =
  'id, key, sequence, type, version, data, metadata, correlation_id, causation_id, hops, traceparent, slot, time_ms'
const marks = `(${columns.replaceAll(/\w+/g, '?')})`

/** An order whose payload is JSON text already. */
export type Placed = Order & { readonly text: string }

export const placed = (n: number): Placed => {
  const order = newOrder(n)
  return { ...order, text: JSON.stringify(order) }
}

export class Outbox {
  readonly db: DatabaseSync
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  readonly #order: StatementSync
  readonly #inserts = new Map<number, StatementSync>()

  constructor(path: string) {
    this.db = new DatabaseSync(path)
    this.db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON')
    for (const { sql } of migrations) this.db.exec(sql('raw_'))
    this.db.exec(orderTable)
    this.db.exec('CREATE TABLE position (consumer TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT')
    this.#begin = this.db.prepare('BEGIN IMMEDIATE')
    this.#commit = this.db.prepare('COMMIT')
    this.#order = this.db.prepare(insertOrder)
  }

  /** One order row and its event. The key is new, so its sequence needs no look. */
  place(order: Placed): void {
    this.#begin.run()
    this.#order.run(order.orderId, order.total)
    this.#insert(1).run(...this.#values(order, null))
    this.#commit.run()
  }

  /** One order row and an event for each order, several rows per statement; the first event correlates the rest. */
  placeAll(orders: readonly Placed[], rowsPerStatement: number): void {
    this.#begin.run()
    this.#order.run(orders[0]!.orderId, orders[0]!.total)
    let correlationId: string | null = null
    for (let from = 0; from < orders.length; from += rowsPerStatement) {
      const values: SQLInputValue[] = []
      for (const order of orders.slice(from, from + rowsPerStatement)) {
        const row = this.#values(order, correlationId)
        correlationId ??= row[0] as string
        values.push(...row)
      }
      this.#insert(rowsPerStatement).run(...values)
    }
    this.#commit.run()
  }

  startCursor(consumer: string): void {
    this.db.prepare('INSERT INTO position (consumer, position) VALUES (?, 0)').run(consumer)
  }

  /** Hands on every row behind the cursor and moves it, so many rows per transaction; returns how many there were. */
  drain(consumer: string, rowsPerTransaction: number, handle: (row: { readonly data: string }) => void): number {
    const read = this.db.prepare(
      `SELECT position, ${columns} FROM raw_event WHERE position > ? ORDER BY position LIMIT ?`,
    )
    const move = this.db.prepare('UPDATE position SET position = ? WHERE consumer = ?')
    for (let position = 0, handled = 0; ; ) {
      this.#begin.run()
      const rows = read.all(position, rowsPerTransaction) as { position: number; data: string }[]
      for (const row of rows) handle(row)
      handled += rows.length
      position = rows.at(-1)?.position ?? position
      move.run(position, consumer)
      this.#commit.run()
      if (rows.length === 0) return handled
    }
  }

  #insert(rows: number): StatementSync {
    let statement = this.#inserts.get(rows)
    if (statement === undefined) {
      const values = Array.from({ length: rows }, () => marks).join()
      statement = this.db.prepare(`INSERT INTO raw_event (${columns}) VALUES ${values}`)
      this.#inserts.set(rows, statement)
    }
    return statement
  }

  #values({ orderId, text }: Placed, correlationId: string | null): SQLInputValue[] {
    const { id, now } = systemEnvironment
    return [id(), orderId, 1, 'ordering.order-placed', 1, text, null, correlationId, null, 0, null, 0, now()]
  }
}
