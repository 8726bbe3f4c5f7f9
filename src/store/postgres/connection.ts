/** One connection of the pool while a session has it, and the session on it: statements in order, the end of a transaction told truly. */

import type { Awaitable } from '../../core/awaitable.ts'
import { PabalError } from '../../core/errors.ts'
import type { Session } from '../store.ts'
import { type PgClient, type PgQuery, type PgResult, pipelining, together } from './driver.ts'
import { codeOf, isConflict, isLost, isUndone, ownError, storeError } from './errors.ts'
import type { OwnTransaction } from './join/own-transaction.ts'

/** A statement of pabal's own, with the name that it is prepared under. */
export interface Statement {
  readonly name: string
  readonly text: string
}

const statements = new Map<string, Statement>()
/** Each `$n` stands once, in ascending order, for a text or null: so every library can run it. */
export const statement = (text: string): Statement => {
  let known = statements.get(text)
  if (known === undefined) statements.set(text, (known = { name: `pabal_${statements.size + 1}`, text }))
  return known
}

/** A value as the driver, or the caller's library, likes it. */
export type Value = string | number | bigint | boolean | null
export type Row = readonly Value[]

/** What runs statements: a connection of the pool, or a transaction of the caller's. */
export interface Channel {
  readonly pipelines: boolean
  hold(): void
  /** Rows as arrays of texts, numbers and nulls. */
  own(statement: Statement, values: readonly (string | null)[]): Promise<{ rows: readonly Row[]; count: number }>
  user(sql: string, values: readonly unknown[]): Promise<{ rows: unknown[]; rowCount: number }>
  command(sql: string): Promise<string>
}

const int8 = 20
const numbers = new Set([int8, 21, 23, 26])
const asNumber = (value: string): number => Number(value)
const asText = (value: string): string => value
/** The adapter's own: parsers that a user has set for the whole process do not reach into it. */
const ownTypes = { getTypeParser: (oid: number) => (numbers.has(oid) ? asNumber : asText) }

/**
 * What is the same each time a statement is sent, as the prototype of what is sent: the driver copies what an object has of its
 * own, property by property, and that costs more than all else it does for a statement.
 */
class Form {
  readonly #timed: PgQuery
  readonly #untimed: PgQuery

  constructor(query: PgQuery, queryTimeoutMs: number) {
    this.#timed = { ...query, query_timeout: queryTimeoutMs }
    this.#untimed = query
  }

  /** What is sent together with what comes next has its answer before it: one clock is enough. */
  with(values: readonly unknown[] | undefined, { timed }: { readonly timed: boolean }): PgQuery {
    const query = Object.create(timed ? this.#timed : this.#untimed) as { values?: unknown }
    if (values !== undefined) query.values = values
    return query as PgQuery
  }
}

/** Texts of users that are prepared by name; a text beyond is parsed each time. */
const namedMax = 500
let named = 0

/** The statements of one database, as they are sent. */
export class Forms {
  readonly label: string
  readonly #prepare: boolean
  readonly #queryTimeoutMs: number
  readonly #own = new WeakMap<Statement, Form>()
  readonly #users = new Map<string, Form>()
  readonly #commands = new Map<string, Form>()

  constructor(options: { readonly label: string; readonly prepare: boolean; readonly queryTimeoutMs: number }) {
    this.label = options.label
    this.#prepare = options.prepare
    this.#queryTimeoutMs = options.queryTimeoutMs
  }

  own(of: Statement): Form {
    let form = this.#own.get(of)
    if (form === undefined) {
      const { name, text } = of
      form = this.#form(name, { text, rowMode: 'array', queryMode: 'extended', types: ownTypes })
      this.#own.set(of, form)
    }
    return form
  }

  user(sql: string): Form {
    const known = this.#users.get(sql)
    if (known !== undefined) return known
    const query = { text: sql, queryMode: 'extended' } as const
    if (this.#users.size >= namedMax) return new Form(query, this.#queryTimeoutMs)
    const form = this.#form(`pabal_user_${++named}`, query)
    this.#users.set(sql, form)
    return form
  }

  command(sql: string): Form {
    let form = this.#commands.get(sql)
    if (form === undefined) {
      form = new Form({ text: sql }, this.#queryTimeoutMs)
      if (this.#commands.size < namedMax) this.#commands.set(sql, form)
    }
    return form
  }

  #form(name: string, query: PgQuery): Form {
    return new Form(this.#prepare ? { name, ...query } : query, this.#queryTimeoutMs)
  }
}

export class PoolChannel implements Channel {
  readonly client: PgClient
  readonly pipelines: boolean
  readonly #forms: Forms
  /** What was sent last: the driver wants one statement at a time, unless it pipelines. */
  #last: Promise<unknown> = Promise.resolve()
  readonly #setBack: (() => void) | undefined
  /** The connection cannot be given to anyone else. */
  broken = false
  /** What the server said when it ended the connection between two statements. */
  #end: Error | undefined
  readonly ended = (error: Error): void => {
    this.broken = true
    this.#end ??= error
  }
  /** Statements sent, for counting what an idle app costs. */
  readonly #count: () => void

  constructor(client: PgClient, forms: Forms, count: () => void) {
    this.client = client
    this.#setBack = pipelining(client)
    this.pipelines = this.#setBack !== undefined
    this.#forms = forms
    this.#count = count
  }

  /** Gives the connection back to its pool. */
  release(): void {
    this.#setBack?.()
    this.client.release(this.broken)
  }

  /** What follows is sent together with what comes next. */
  hold(): void {
    if (!this.pipelines) return
    this.#held = true
    together(this.client)
  }
  #held = false

  #send(form: Form, values?: readonly unknown[]): Promise<PgResult> {
    this.#count()
    const query = form.with(values, { timed: !this.#held })
    this.#held = false
    if (this.pipelines) return this.#watch(this.client.query(query))
    const sent = this.#last.then(() => this.#watch(this.client.query(query)))
    this.#last = sent.catch(() => {})
    return sent
  }

  async #watch(sent: Promise<PgResult>): Promise<PgResult> {
    try {
      return await sent
    } catch (error) {
      if (!isLost(error)) throw error
      this.broken = true
      // The driver only says that it is of no use any more.
      throw this.#end ?? error
    }
  }

  async own(of: Statement, values: readonly (string | null)[]): Promise<{ rows: Row[]; count: number }> {
    try {
      const { rows, rowCount } = await this.#send(this.#forms.own(of), values)
      return { rows: rows as Row[], count: rowCount ?? 0 }
    } catch (error) {
      throw ownError(error, this.#forms.label)
    }
  }

  async user(sql: string, values: readonly unknown[]): Promise<{ rows: unknown[]; rowCount: number }> {
    try {
      const result = await this.#send(this.#forms.user(sql), values)
      return { rows: result.rows, rowCount: result.rowCount ?? 0 }
    } catch (error) {
      throw isLost(error) || isConflict(error) || codeOf(error) === '55P03'
        ? storeError(error, this.#forms.label)
        : error
    }
  }

  async command(sql: string): Promise<string> {
    const result: unknown = await this.#send(this.#forms.command(sql))
    return ((Array.isArray(result) ? (result.at(-1) as PgResult) : (result as PgResult)) ?? {}).command
  }
}

/** In the caller's own transaction, by whatever library. */
export class JoinedChannel implements Channel {
  readonly pipelines = false
  readonly hold = (): void => {}
  readonly #own: OwnTransaction
  readonly #label: string

  constructor(own: OwnTransaction, label: string) {
    this.#own = own
    this.#label = label
  }

  async own({ text }: Statement, values: readonly (string | null)[]): Promise<{ rows: Row[]; count: number }> {
    try {
      const { rows, rowCount } = await this.#own.query(text, values)
      // In the order of the columns; numbers come as the library's parsers like them.
      return { rows: rows.map((row) => Object.values(row) as Value[]), count: rowCount }
    } catch (error) {
      throw ownError(error, this.#label)
    }
  }

  async user(sql: string, values: readonly unknown[]): Promise<{ rows: unknown[]; rowCount: number }> {
    const { rows, rowCount } = await this.#own.query(sql, values)
    return { rows: [...rows], rowCount }
  }

  async command(sql: string): Promise<string> {
    await this.#own.query(sql, [])
    return ''
  }
}

export class PostgresSession implements Session {
  readonly kind: 'transaction' | 'view' | 'joined'
  readonly #connect: () => Promise<Channel>
  #channel: Promise<Channel> | Channel | undefined
  #begin: string | undefined
  #open = true
  /** COMMIT was sent: there is nothing left to roll back. */
  #ended = false
  #savepoints = 0
  /** Statements that were sent and not waited for. Whatever comes next waits for them, and COMMIT does. */
  #unanswered: Promise<unknown> | undefined
  /** Contexts whose logs were appended to. */
  readonly appended: Set<string> = new Set()

  /** `begin` is sent with the first statement, so that a session that does nothing costs nothing. */
  constructor(kind: PostgresSession['kind'], connect: () => Promise<Channel>, begin?: string) {
    this.kind = kind
    this.#connect = connect
    this.#begin = begin
  }

  get open(): boolean {
    return this.#open
  }

  /** Whether anything was sent to the server. */
  get begun(): boolean {
    return this.#channel !== undefined
  }

  close(): void {
    this.#open = false
  }

  /** @throws PABAL_UNIT_CLOSED */
  check(): void {
    if (!this.#open) throw new PabalError('PABAL_UNIT_CLOSED', 'the unit of work has ended')
  }

  /** A write in a view is a mistake of the caller. */
  checkWritable(): void {
    this.check()
    if (this.kind === 'view') throw new PabalError('PABAL_STORE_READONLY', 'a read was asked to write')
  }

  async #ready(): Promise<Channel> {
    this.check()
    if (this.#channel === undefined) {
      this.#channel = this.#start()
      this.#channel.then(
        (channel) => (this.#channel = channel),
        () => {},
      )
    }
    const channel = this.#channel instanceof Promise ? await this.#channel : this.#channel
    if (this.#unanswered !== undefined) await this.answered()
    // Whoever asked checks once more before it sends: a statement that nobody waits for must not go out behind COMMIT.
    return channel
  }

  /** Resolves when the connection that was asked for is there, or is not to be had. */
  async connected(): Promise<void> {
    if (this.#channel instanceof Promise) await this.#channel.catch(() => {})
  }

  async #start(): Promise<Channel> {
    const channel = await this.#connect()
    if (this.#begin !== undefined) {
      channel.hold()
      this.unanswered(channel.command(this.#begin), channel)
    }
    return channel
  }

  /** Goes on without the answer; pipelined, it travels together with what comes next. */
  unanswered(sent: Promise<unknown>, channel: Channel): void {
    if (!channel.pipelines) {
      this.#unanswered = this.#unanswered === undefined ? sent : Promise.all([this.#unanswered, sent])
      this.#unanswered.catch(() => {})
      return
    }
    sent.catch((error: unknown) => (this.#failed ??= { error }))
    this.#pipelined.push(sent)
  }
  #failed: { readonly error: unknown } | undefined
  readonly #pipelined: Promise<unknown>[] = []

  /** Waits for what was sent and not waited for. */
  async answered(): Promise<void> {
    const unanswered = this.#unanswered
    this.#unanswered = undefined
    await unanswered
  }

  /** What was pipelined has its answers when what came behind it has. */
  #checkPipelined(): void {
    if (this.#failed === undefined) return
    const { error } = this.#failed
    this.#failed = undefined
    this.#pipelined.length = 0
    throw error
  }

  async rows(of: Statement, values: readonly (string | null)[]): Promise<readonly Row[]> {
    return (await this.run(of, values)).rows
  }

  async row(of: Statement, values: readonly (string | null)[]): Promise<Row | undefined> {
    return (await this.run(of, values)).rows[0]
  }

  async run(
    of: Statement,
    values: readonly (string | null)[],
  ): Promise<{ readonly rows: readonly Row[]; readonly count: number }> {
    const channel = await this.#ready()
    this.check()
    return this.#answer(channel.own(of, values))
  }

  async user(sql: string, values: readonly unknown[]): Promise<{ rows: unknown[]; rowCount: number }> {
    const channel = await this.#ready()
    this.check()
    if (this.kind === 'view' && !this.#isReading) {
      // A user's reads are of one kind and write nothing; pabal's own need no transaction for that.
      this.#isReading = true
      this.unanswered(channel.command('BEGIN TRANSACTION READ ONLY'), channel)
      await this.answered()
    }
    this.check()
    return this.#answer(channel.user(sql, values))
  }
  #isReading = false

  /** Ends a view. */
  async finish(): Promise<void> {
    this.#open = false
    const channel = await this.#channel
    if (this.#isReading) await channel?.command('COMMIT')
  }

  async #answer<R>(sent: Promise<R>): Promise<R> {
    try {
      const result = await sent
      this.#checkPipelined()
      return result
    } catch (error) {
      // What stood before it in the pipeline has failed, and is why.
      this.#checkPipelined()
      throw error
    }
  }

  /** Sends a write and does not wait: the next statement does, or COMMIT. Inside of a savepoint it waits, so that it can be undone. */
  async defer(of: Statement, values: readonly (string | null)[], then: (rows: readonly Row[]) => void): Promise<void> {
    const channel = await this.#ready()
    this.check()
    const waits = this.kind !== 'transaction' || this.#savepoints > 0
    if (!waits) channel.hold()
    const sent = channel.own(of, values).then(({ rows }) => then(rows))
    if (waits) return this.#answer(sent)
    this.unanswered(sent, channel)
  }

  /** A statement of transaction control; the command tag that the server answers with. */
  async command(sql: string): Promise<string> {
    const channel = await this.#ready()
    this.check()
    return this.#answer(channel.command(sql))
  }

  /**
   * COMMIT, sent right behind what was not waited for. The answer is the server's command tag: ROLLBACK when a statement had
   * failed and somebody swallowed its error.
   */
  async commit(): Promise<void> {
    const channel = this.#channel instanceof Promise ? await this.#channel : this.#channel!
    this.#open = false
    if (!channel.pipelines) await this.answered()
    this.#ended = true
    let tag: string
    try {
      tag = await channel.command('COMMIT')
    } catch (error) {
      await Promise.allSettled(this.#pipelined)
      if (!isLost(error)) this.#checkPipelined()
      throw isLost(error) && !isUndone(error)
        ? new PabalError('PABAL_COMMIT_UNKNOWN', 'the connection was lost before COMMIT was answered', { cause: error })
        : error
    }
    await Promise.allSettled(this.#pipelined)
    this.#checkPipelined()
    if (tag !== 'COMMIT')
      throw new PabalError(
        'PABAL_ROLLED_BACK',
        `the server answered COMMIT with ${tag}: a statement had failed, and its error was not passed on`,
      )
  }

  /** Waits for nothing that was sent: it failed, or is undone. */
  async rollback(): Promise<void> {
    this.#open = false
    if (this.#ended) return
    const channel = await this.#channel
    await this.answered().catch(() => {})
    await channel?.command('ROLLBACK')
  }

  async savepoint<R>(fn: () => Awaitable<R>): Promise<R> {
    this.checkWritable()
    const name = `pabal_${++this.#savepoints}`
    try {
      await this.command(`SAVEPOINT ${name}`)
      let result: R
      try {
        result = await fn()
        this.check()
      } catch (error) {
        // A savepoint that outlives its unit has nothing left to undo.
        if (this.#open) {
          await this.command(`ROLLBACK TO ${name}`)
          await this.command(`RELEASE ${name}`)
        }
        throw error
      }
      await this.command(`RELEASE ${name}`)
      return result
    } finally {
      this.#savepoints--
    }
  }
}

/** The session as this adapter's. */
export const on = (session: Session): PostgresSession => session as PostgresSession

/** For a write: refused in a view. */
export const writing = (session: Session): PostgresSession => {
  const own = session as PostgresSession
  own.checkWritable()
  return own
}
