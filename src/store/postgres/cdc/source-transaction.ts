/** A transaction of the captured database: its row changes together, in the order in which they were made. */

import type { Message, OldRow, Relation, Value } from './pgoutput.ts'

/** By column, with the types that the caller's pool gives. */
export type Row = Readonly<Record<string, unknown>>

interface Changed<T extends string, Operation extends string, Before, After> {
  readonly operation: Operation
  /** As the capture's `tables` name it. */
  readonly table: T
  readonly before: Before
  readonly after: After
  /** Columns that are not in `after`: too large to be sent again, and not changed. None with `REPLICA IDENTITY FULL`. */
  readonly unchanged: readonly string[]
}

/**
 * One row that was changed. `before` is the whole row with `REPLICA IDENTITY FULL`. Without it, it is the old key: for every
 * delete, and for an update that has changed the key. `read` is a row that was there before the capture began (`startAt:
 * 'snapshot'`).
 */
export type RowChange<T extends string = string> =
  | Changed<T, 'insert' | 'read', undefined, Row>
  | Changed<T, 'update', Row | undefined, Row>
  | Changed<T, 'delete', Row, undefined>
  | Changed<T, 'truncate', undefined, undefined>

export interface TransactionHeader {
  /** Where its commit ends in the write-ahead log: its place, its identity, and what `skip` takes. */
  readonly lsn: string
  /** Undefined for the rows of a snapshot. */
  readonly xid: number | undefined
  readonly committedAt: Date
}

export interface SourceTransaction<T extends string = string> extends TransactionHeader {
  readonly changes: readonly RowChange<T>[]
}

type Change = Exclude<Message, { kind: 'begin' | 'commit' }>

/** As it was received; reading its values is left to whoever can handle that this fails. */
export interface ReceivedTransaction {
  readonly lsn: bigint
  readonly xid: number
  readonly committedAtMs: number
  /** Changes beyond the limit are counted, not kept. */
  readonly count: number
  readonly changes: readonly Change[]
}

/** Puts messages together: the server sends committed transactions only, one after the other. */
export class TransactionCollector {
  readonly #changesMax: number
  #xid = 0
  #committedAtMs = 0
  #count = 0
  #changes: Change[] = []

  constructor(changesMax: number) {
    this.#changesMax = changesMax
  }

  /** The transaction, with its last message. */
  add(message: Message): ReceivedTransaction | undefined {
    switch (message.kind) {
      case 'begin':
        this.#xid = message.xid
        this.#committedAtMs = message.committedAtMs
        this.#count = 0
        this.#changes = []
        return undefined
      case 'commit':
        return {
          lsn: message.lsn,
          xid: this.#xid,
          committedAtMs: this.#committedAtMs,
          count: this.#count,
          changes: this.#changes,
        }
      default:
        if (this.#count++ < this.#changesMax) this.#changes.push(message)
        else this.#changes = []
        return undefined
    }
  }
}

export const tooMany = (what: string, changesMax: number): Error =>
  new RangeError(`${what} has more than ${changesMax} changes; raise changesMax`)

export interface Reading<T extends string> {
  /** The tables' names by their oids. */
  readonly tables: ReadonlyMap<number, T>
  readonly parserOf: (typeOid: number) => (text: string) => unknown
}

/** @throws what a parser of the caller's throws */
export const rowChangesOf = <T extends string>(change: Change, { tables, parserOf }: Reading<T>): RowChange<T>[] => {
  const changed = (
    relation: Relation,
    of: Pick<RowChange, 'operation' | 'before' | 'after'>,
    unchanged: string[] = [],
  ) => {
    const table = tables.get(relation.oid) ?? `${relation.schema}.${relation.name}`
    return { ...of, table, unchanged } as RowChange<T>
  }
  const row = ({ columns }: Relation, values: readonly Value[], keyOnly = false): Row =>
    Object.fromEntries(
      columns.flatMap(({ name, typeOid, isKey }, index) => {
        const value = values[index]
        if (value === undefined || (keyOnly && !isKey)) return []
        return [[name, value === null ? null : parserOf(typeOid)(value)]]
      }),
    )
  const oldRow = (relation: Relation, { values, keyOnly }: OldRow): Row => row(relation, values, keyOnly)

  switch (change.kind) {
    case 'insert': {
      const { relation, after } = change
      return [changed(relation, { operation: 'insert', before: undefined, after: row(relation, after) })]
    }
    case 'update': {
      const { relation, before } = change
      // What was not sent again is what it was before.
      const values = change.after.map((value, index) =>
        value === undefined && before?.keyOnly === false ? before.values[index] : value,
      )
      const old = before === undefined ? undefined : oldRow(relation, before)
      const unchanged = relation.columns.flatMap(({ name }, index) => (values[index] === undefined ? [name] : []))
      return [changed(relation, { operation: 'update', before: old, after: row(relation, values) }, unchanged)]
    }
    case 'delete': {
      const { relation, before } = change
      return [changed(relation, { operation: 'delete', before: oldRow(relation, before), after: undefined })]
    }
    default:
      return change.relations.map((relation) =>
        changed(relation, { operation: 'truncate', before: undefined, after: undefined }),
      )
  }
}
