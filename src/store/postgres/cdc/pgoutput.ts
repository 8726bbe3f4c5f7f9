/**
 * What the server's plugin `pgoutput` says of committed transactions, protocol version 1
 * (https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html). Values stay the server's own texts.
 */

/** Undefined: stored out of line (TOAST), not changed, and therefore not sent. */
export type Value = string | null | undefined

export interface Relation {
  readonly oid: number
  readonly schema: string
  readonly name: string
  readonly columns: readonly { readonly name: string; readonly typeOid: number; readonly isKey: boolean }[]
}

/** The row before a change: all of it with `REPLICA IDENTITY FULL`, else the columns of its key. */
export interface OldRow {
  readonly values: readonly Value[]
  readonly keyOnly: boolean
}

export type Message =
  | { readonly kind: 'begin'; readonly xid: number; readonly committedAtMs: number }
  /** `lsn` is where the record of the commit ends: all before it is told. */
  | { readonly kind: 'commit'; readonly lsn: bigint }
  | { readonly kind: 'insert'; readonly relation: Relation; readonly after: readonly Value[] }
  | {
      readonly kind: 'update'
      readonly relation: Relation
      /** Without REPLICA IDENTITY FULL only where the key has changed. */
      readonly before: OldRow | undefined
      readonly after: readonly Value[]
    }
  | { readonly kind: 'delete'; readonly relation: Relation; readonly before: OldRow }
  | { readonly kind: 'truncate'; readonly relations: readonly Relation[] }

/** Microseconds count from 2000 there. */
export const epochMs: number = Date.UTC(2000, 0, 1)

/** One stream's reader: a table is described once, before its first change and after each of its own. */
export class Pgoutput {
  readonly #relations = new Map<number, Relation>()

  /** Undefined for what says nothing by itself: tables, types, origins, messages. */
  decode(bytes: Buffer): Message | undefined {
    const read = new Reader(bytes)
    const tag = read.char()
    switch (tag) {
      case 'B': {
        read.int64()
        return { kind: 'begin', committedAtMs: Number(read.int64() / 1_000n) + epochMs, xid: read.uint32() }
      }
      case 'C': {
        read.char()
        read.int64()
        return { kind: 'commit', lsn: read.int64() }
      }
      case 'R': {
        const relation = relationOf(read)
        this.#relations.set(relation.oid, relation)
        return undefined
      }
      case 'I': {
        const relation = this.#relation(read)
        read.char()
        return { kind: 'insert', relation, after: read.values() }
      }
      case 'U': {
        const relation = this.#relation(read)
        const before = oldRowOf(read)
        if (before !== undefined) read.char()
        return { kind: 'update', relation, before, after: read.values() }
      }
      case 'D': {
        const relation = this.#relation(read)
        return { kind: 'delete', relation, before: oldRowOf(read)! }
      }
      case 'T': {
        const count = read.uint32()
        read.char()
        return { kind: 'truncate', relations: Array.from({ length: count }, () => this.#relation(read)) }
      }
      case 'Y':
      case 'O':
      case 'M':
        return undefined
      default:
        throw new Error(`pgoutput: a message of the unknown kind ${JSON.stringify(tag)}`)
    }
  }

  #relation(read: Reader): Relation {
    const oid = read.uint32()
    const relation = this.#relations.get(oid)
    if (relation === undefined) throw new Error(`pgoutput: table ${oid} was not described`)
    return relation
  }
}

const relationOf = (read: Reader): Relation => {
  const oid = read.uint32()
  const schema = read.text()
  const name = read.text()
  read.char()
  const columns = Array.from({ length: read.uint16() }, () => {
    const isKey = read.char() === '\u0001'
    const column = { name: read.text(), typeOid: read.uint32(), isKey }
    read.uint32()
    return column
  })
  // The server omits the name of its own schema.
  return { oid, schema: schema === '' ? 'pg_catalog' : schema, name, columns }
}

/** `K`: the key only, `O`: all of it, `N`: no old row, the new one follows. */
const oldRowOf = (read: Reader): OldRow | undefined => {
  const part = read.char()
  return part === 'N' ? undefined : { values: read.values(), keyOnly: part === 'K' }
}

class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  char(): string {
    return String.fromCharCode(this.#bytes.readUInt8(this.#at++))
  }

  uint16(): number {
    this.#at += 2
    return this.#bytes.readUInt16BE(this.#at - 2)
  }

  uint32(): number {
    this.#at += 4
    return this.#bytes.readUInt32BE(this.#at - 4)
  }

  int64(): bigint {
    this.#at += 8
    return this.#bytes.readBigInt64BE(this.#at - 8)
  }

  text(): string {
    const from = this.#at
    this.#at = this.#bytes.indexOf(0, from) + 1
    return this.#bytes.toString('utf8', from, this.#at - 1)
  }

  values(): readonly Value[] {
    return Array.from({ length: this.uint16() }, () => this.#value())
  }

  #value(): Value {
    const kind = this.char()
    if (kind === 'n') return null
    if (kind === 'u') return undefined
    if (kind !== 't') throw new Error(`pgoutput: a value of the unknown kind ${JSON.stringify(kind)}`)
    const length = this.uint32()
    this.#at += length
    return this.#bytes.toString('utf8', this.#at - length, this.#at)
  }
}
