/** The group of a subscriber on the server, as this process has it: makes it, reads for it, settles what was taken. */

import { provide } from '../topology.ts'
import type { Connection } from './connection.ts'
import type { Fields } from './entry.ts'
import type { SubscriberNames } from './names.ts'
import { ofSubscriber } from './provision.ts'
import { prolong, read, release, type Script, settle, takeOver, trim } from './scripts.ts'

export interface Entry {
  readonly id: string
  /** Undefined: somebody deleted it after it was brought, before it was acknowledged. */
  readonly fields: Fields | undefined
}

/** `lost`: another process reads now. `behind`: there is nothing, until something comes behind that id. */
export type Read = 'lost' | { readonly entries: readonly Entry[]; readonly behind: string }

export interface Refused {
  readonly id: string
  readonly reason: string
}

export interface GroupParts {
  readonly names: SubscriberNames
  readonly provision: boolean
  readonly leaseMs: number
  readonly count: number
  /** Of this process, and this receiving. */
  readonly consumer: string
  /** For everything but waiting. */
  readonly connection: Connection
  /** For waiting, which holds up whatever else is sent over it. */
  readonly waiting: Connection
}

/**
 * Bytes of one answer, which has its time as any other has, and blocks the server while it is made: what is read at once goes by the
 * size of what was read before.
 */
const answerBytes = 33_554_432
/** Of an entry, beside what it holds; of the first ones nothing is known. */
const entryBytes = { least: 256, first: 1_048_576 } as const

export class Group {
  readonly #parts: GroupParts
  #holds = 0
  /** Of those that were read last. */
  #entryBytes: number = entryBytes.first

  constructor(parts: GroupParts) {
    this.#parts = parts
  }

  /** The stream and the group are there. @throws PABAL_TRANSPORT_INVALID, PABAL_TRANSPORT_UNREACHABLE */
  async ensure(): Promise<void> {
    const { names, provision, connection } = this.#parts
    await provide('Redis', ofSubscriber(connection, names), provision)
  }

  /** The hold under which this process reads from now on; undefined while another one reads. */
  async takeOver(): Promise<{ readonly hold: string; readonly gone: number } | undefined> {
    const { names, leaseMs, consumer } = this.#parts
    const hold = `${consumer}:${++this.#holds}`
    const [yes, gone] = await this.#run(takeOver, [names.reader, names.stream], [hold, leaseMs, names.group, consumer])
    return yes === 1 ? { hold, gone: Number(gone) } : undefined
  }

  async read(hold: string): Promise<Read> {
    const { names, leaseMs, consumer, count } = this.#parts
    const most = Math.min(count, Math.max(1, Math.floor(answerBytes / this.#entryBytes)))
    // Where no answer comes, less is asked for.
    const before = this.#entryBytes
    this.#entryBytes = entryBytes.first
    const [yes, found, behind] = await this.#run(
      read,
      [names.reader, names.stream],
      [hold, leaseMs, names.group, consumer, most],
    )
    if (yes !== 1) return 'lost'
    const entries = (found as readonly (readonly [Buffer, Fields | null | undefined])[]).map(
      ([id, fields]): Entry => ({ id: String(id), fields: fields ?? undefined }),
    )
    this.#entryBytes = entries.length === 0 ? before : Math.max(entryBytes.least, meanBytes(entries))
    return { entries, behind: String(behind) }
  }

  /** Returns when something has come behind that id, or after a while. */
  async wait(behind: string, ms: number): Promise<void> {
    await this.#parts.waiting.command(
      'XREAD',
      ['COUNT', 1, 'BLOCK', ms, 'STREAMS', this.#parts.names.stream, behind],
      ms,
    )
  }

  /** Acknowledges all of it; how many of the refused could not be copied, or undefined when another process reads now. */
  async settle(hold: string, ids: readonly string[], refused: readonly Refused[]): Promise<number | undefined> {
    const { names, leaseMs } = this.#parts
    const [yes, failed] = await this.#run(
      settle,
      [names.reader, names.stream, names.refused],
      [hold, leaseMs, names.group, ids.length, ...ids, ...refused.flatMap(({ id, reason }) => [id, reason])],
    )
    return yes === 1 ? Number(failed) : undefined
  }

  /** False when another process reads now. */
  async prolong(hold: string): Promise<boolean> {
    const [yes] = await this.#run(prolong, [this.#parts.names.reader], [hold, this.#parts.leaseMs])
    return yes === 1
  }

  async release(hold: string): Promise<void> {
    await this.#eval(release, [this.#parts.names.reader], [hold])
  }

  /** Deletes what every group has acknowledged and what is older than that. */
  async trim(keepMs: number): Promise<void> {
    await this.#eval(trim, [this.#parts.names.stream], [Math.round(keepMs)])
  }

  async #run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<readonly unknown[]> {
    return (await this.#eval(script, keys, args)) as readonly unknown[]
  }

  async #eval(
    { text, keys: count }: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    return this.#parts.connection.command('EVAL', [text, count, ...keys, ...args])
  }
}

const meanBytes = (entries: readonly Entry[]): number =>
  entries.reduce((sum, { fields = [] }) => sum + fields.reduce((of, field) => of + field.length, 0), 0) / entries.length
