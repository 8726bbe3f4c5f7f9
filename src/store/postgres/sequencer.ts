/**
 * The beat of a database: gives positions to what was committed, and wakes those who wait for it. Every process that has the
 * database open beats: after its own commits at once, and now and then for what another one left behind. Nobody leads.
 */

import { backoffMs } from '../../core/environment.ts'
import { PabalError } from '../../core/errors.ts'
import { statement } from './connection.ts'
import { type PgConnection, type PgResult, together } from './driver.ts'
import { codeOf, ownError, states } from './errors.ts'
import { endMs, firstOf, forAtMost, isAnswered, Link, type LinkOptions, queryTimeoutMs } from './link.ts'
import type { SchemaName } from './migrate.ts'
import { lookAfterPartitions } from './partitions.ts'

export interface SequencerOptions extends LinkOptions {
  /** Where nothing is heard the beat goes on by itself, slower the longer nothing happens; unless another way tells of every commit. */
  readonly hears?: () => boolean
  readonly warn: (what: string, error: unknown) => void
}

/** Events numbered by one tick; more take several. */
const perTick = 20_000
/**
 * Two ticks begin at least so far apart, a millisecond more for each further event that the first found, up to a few; and as many times
 * as long as it took as it found events, up to some: a single commit is numbered at once, those of a burst together, and the busier the
 * server, the more of them.
 */
const gapMs = 2
const gapBusyMs = 5
const gapPerTick = 4
const gapMaxMs = 50
/** How often to look for what a process left behind that ended between its commit and its tick. */
const lookMs = 5_000
/** The same where nothing is heard of other processes: from the first, soon after something happened, to the last. */
const pollFirstMs = 10
const pollMaxMs = 1_000
/** Somebody else has been ticking for so long: who? */
const busyMs = 2_000
const partitionsEveryMs = 60_000
const resyncLockMs = 5_000

interface Ticked {
  readonly context: string
  readonly schema: SchemaName
  /** Appended to since the last tick began. */
  dirty: boolean
  /** The server is known to be the one that the log was written on. */
  identified: boolean
  busySinceMs: number | undefined
  /** Its partitions are looked after. */
  maintained: boolean
  /** What the last tick saw, before it gave positions itself. */
  head: number | undefined
  /** What the last look saw. */
  seen: Seen | undefined
}

/**
 * The last id that was given, and the end of the transactions that may have one of those up to it. When all of them have ended,
 * one more tick gives all their positions, and the context is done until an id is given again.
 */
interface Seen {
  readonly lastId: string
  readonly end: bigint
  state: 'open' | 'ended' | 'done'
}

interface Waiter {
  /** Contexts whose next whole tick it waits for. */
  readonly contexts: Set<string>
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class Sequencer {
  readonly #options: SequencerOptions
  readonly #link: Link
  readonly #contexts = new Map<string, Ticked>()
  readonly #listeners = new Set<(context?: string) => void>()
  readonly #waiters = new Set<Waiter>()
  readonly #ended = new AbortController()
  #running: Promise<void> | undefined
  #wake: (() => void) | undefined
  #rung = false
  #failures = 0
  #idlePolls = 0
  #partitionsAtMs = 0
  /** Grows when the connection was lost: whatever is there now may be another server, or an older copy. */
  generation = 0

  constructor(options: SequencerOptions) {
    this.#options = options
    this.#link = new Link(options, {
      heard: (schema) => {
        for (const ticked of this.#contexts.values()) if (ticked.schema.name === schema) this.#news(ticked.context)
      },
      // Whatever was committed while nobody heard.
      opened: () => this.#news(),
      lost: (how) => this.#lost(how),
    })
  }

  /** `maintained`: its partitions are created and dropped; who only looks leaves them to others. */
  add(context: string, schema: SchemaName, { maintained }: { readonly maintained: boolean }): void {
    const fresh = { dirty: true, identified: false, busySinceMs: undefined, head: undefined, seen: undefined }
    this.#contexts.set(context, { context, schema, maintained, ...fresh })
    this.#ring()
  }

  onNews(listener: (context?: string) => void): () => void {
    this.start()
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Something was committed to these contexts' logs. */
  committed(contexts: Iterable<string>): void {
    this.start()
    for (const context of contexts) {
      const ticked = this.#contexts.get(context)
      if (ticked !== undefined) ticked.dirty = true
    }
    this.#ring()
  }

  /** An append found no partition: they are looked after now. */
  lookAfterPartitions(): void {
    this.#partitionsAtMs = 0
    this.committed(this.#contexts.keys())
  }

  /** Somebody has given positions to events of this context. */
  numbered(context: string): void {
    this.#news(context)
  }

  /** Anything may have been committed, and told to nobody. */
  missed(): void {
    this.committed(this.#contexts.keys())
    this.#news()
  }

  /** The last position that can be read. */
  async head(context: string): Promise<number> {
    const [result] = await this.#link.query(headOf(this.#contexts.get(context)!.schema))
    return firstOf(result!.rows)
  }

  /** One value, on the connection that is nobody else's. */
  async ask(text: string): Promise<string> {
    const [result] = await this.#link.query(text)
    return String(Object.values(result!.rows[0] as object)[0])
  }

  /** Resolves when everything that was committed before has its position. */
  sequence(): Promise<void> {
    if (this.#ended.signal.aborted || this.#contexts.size === 0) return Promise.resolve()
    this.start()
    return new Promise((resolve, reject) => {
      this.#waiters.add({ contexts: new Set(this.#contexts.keys()), resolve, reject })
      for (const ticked of this.#contexts.values()) ticked.dirty = true
      this.#ring()
    })
  }

  /** Beats from now on; who only looks at what is there does not need it. */
  start(): void {
    if (!this.#ended.signal.aborted) this.#running ??= this.#run()
  }

  async close(): Promise<void> {
    this.#ended.abort()
    this.#ring()
    await this.#running
    if (this.#running !== undefined) await this.#lastBeat()
    await this.#link.close()
    for (const waiter of this.#waiters) waiter.resolve()
    this.#waiters.clear()
  }

  /** What was committed here just now is numbered here: there may be nobody else to do it. */
  async #lastBeat(): Promise<void> {
    if ([...this.#contexts.values()].some(({ dirty }) => dirty))
      await forAtMost(endMs, this.#options.environment, this.#beat())
  }

  #ring(): void {
    this.#rung = true
    this.#wake?.()
  }

  #news(context?: string): void {
    this.#idlePolls = 0
    for (const listener of this.#listeners) listener(context)
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#rung || this.#ended.signal.aborted) return
    const awake = new AbortController()
    this.#wake = () => awake.abort()
    await this.#options.environment.sleep(ms, awake.signal)
    this.#wake = undefined
  }

  async #run(): Promise<void> {
    const { environment } = this.#options
    let restUntilMs = Number.NEGATIVE_INFINITY
    let found = 0
    while (!this.#ended.signal.aborted) {
      await this.#sleep(this.#restMs())
      if (this.#ended.signal.aborted) return
      // Woken or not, all are ticked once in a while.
      const looking = !this.#rung
      this.#rung = false
      const waitMs = Math.ceil(restUntilMs - performance.now())
      if (waitMs > 0) await environment.sleep(waitMs, this.#ended.signal)
      const startMs = performance.now()
      if (looking) {
        this.#idlePolls++
        await this.#look()
      }
      try {
        // A tick finds nothing where the one before was late enough to have it all: how busy it is was seen before that.
        found = (await this.#beat()) || found
        this.#failures = 0
        const gap = Math.max(
          gapMs,
          Math.min(gapBusyMs, gapMs + found - 1),
          (performance.now() - startMs) * Math.min(gapPerTick, found),
        )
        restUntilMs = startMs + Math.min(gapMaxMs, gap)
      } catch (error) {
        if (this.#ended.signal.aborted) return
        await this.#failed(error)
      }
    }
  }

  /**
   * Which contexts may have events without a position: one question, however many there are, and whatever others write on the
   * server. Behind a pooler all of them, since the tick itself tells what others have numbered.
   */
  async #look(): Promise<void> {
    const all = [...this.#contexts.values()]
    const seen = this.#options.notifications ? await this.#seen(all).catch(() => undefined) : undefined
    for (const ticked of all) {
      const now = seen?.get(ticked)
      if (now === undefined || now.lastId !== ticked.seen?.lastId) ticked.seen = now && { ...now, state: 'open' }
      else if (ticked.seen.state === 'open' && now.oldest >= ticked.seen.end) ticked.seen.state = 'ended'
      ticked.dirty ||= ticked.seen?.state !== 'done'
    }
  }

  /** Ids first: whoever has one of them is older than the snapshot. Whatever is wrong, the tick will say so. */
  async #seen(
    all: readonly Ticked[],
  ): Promise<ReadonlyMap<Ticked, { readonly lastId: string; readonly end: bigint; readonly oldest: bigint }>> {
    const ids = all.map(({ schema: { sql } }) => `coalesce(pg_sequence_last_value('${sql}.event_id'), 0)::text`)
    const [given, snapshot] = await this.#link.query(
      `SELECT ARRAY[${ids.join(', ')}]::text AS ids; SELECT pg_snapshot_xmin(s)::text AS oldest, pg_snapshot_xmax(s)::text AS end FROM pg_current_snapshot() s`,
    )
    const lastIds = (given!.rows[0] as { ids: string }).ids.slice(1, -1).split(',')
    const { oldest, end } = snapshot!.rows[0] as { oldest: string; end: string }
    return new Map(all.map((ticked, i) => [ticked, { lastId: lastIds[i]!, end: BigInt(end), oldest: BigInt(oldest) }]))
  }

  #restMs(): number {
    const { notifications, hears, environment } = this.#options
    if (notifications || hears?.() === true) return lookMs * (0.75 + environment.random() / 2)
    return backoffMs(this.#idlePolls + 1, pollFirstMs, pollMaxMs, environment.random)
  }

  async #failed(error: unknown): Promise<void> {
    const { environment, warn, label } = this.#options
    for (const waiter of this.#waiters) waiter.reject(ownError(error, label))
    this.#waiters.clear()
    for (const ticked of this.#contexts.values()) ticked.dirty = true
    // Said once, not with each attempt.
    if (this.#failures === 0) warn(`ticking ${label}`, ownError(error, label))
    await environment.sleep(backoffMs(++this.#failures, 50, 5_000, environment.random), this.#ended.signal)
    this.#rung = true
  }

  /** Ticks what is dirty; what somebody else is ticking, or what has more, stays so. Gives how many events got their positions. */
  async #beat(): Promise<number> {
    const { environment } = this.#options
    const dirty = [...this.#contexts.values()].filter((ticked) => ticked.dirty)
    if (dirty.length === 0) return 0
    const { due, failure } = await this.#identified(dirty)
    // From here to the sending nothing is awaited: who asks later waits for the next one.
    const waiters = [...this.#waiters]
    for (const ticked of due) ticked.dirty = false
    const ticks = due.length === 0 ? [] : await this.#tickAll(due)
    let again = false
    for (const [index, ticked_] of due.entries()) {
      const { count, head } = ticks[index]!
      const whole = count >= 0 && count < perTick
      if (!whole) {
        ticked_.dirty = true
        again = true
      }
      if (count === -1) await this.#busy(ticked_)
      else ticked_.busySinceMs = undefined
      // Where nothing is heard of others, what they have numbered is seen by the head that moved.
      if (count > 0 || (ticked_.head !== undefined && head !== undefined && head > ticked_.head))
        this.#news(ticked_.context)
      if (head !== undefined) ticked_.head = head + (whole ? count : 0)
      if (whole && ticked_.seen?.state === 'ended') ticked_.seen.state = 'done'
      if (whole) for (const waiter of waiters) waiter.contexts.delete(ticked_.context)
    }
    for (const waiter of waiters)
      if (waiter.contexts.size === 0) {
        this.#waiters.delete(waiter)
        waiter.resolve()
      }
    if (again) {
      // Somebody else's tick may have begun before our commit, so ours must be seen by one that began after it.
      if (ticks.some(({ count }) => count === -1))
        await environment.sleep(1 + environment.random() * 4, this.#ended.signal)
      this.#rung = true
    }
    if (failure !== undefined) throw failure.error
    if (environment.now() >= this.#partitionsAtMs) {
      this.#partitionsAtMs = environment.now() + partitionsEveryMs
      const maintained = [...this.#contexts.values()].filter((ticked) => ticked.maintained)
      const { label, warn } = this.#options
      await lookAfterPartitions(
        { link: this.#link, label, warn },
        maintained.map(({ schema }) => schema),
      )
    }
    return ticks.reduce((sum, { count }) => sum + Math.max(0, count), 0)
  }

  /** Those that may be ticked; what is wrong with another one is not their business. */
  async #identified(dirty: readonly Ticked[]): Promise<{ due: readonly Ticked[]; failure?: { error: unknown } }> {
    let failure: { error: unknown } | undefined
    for (const ticked of dirty)
      try {
        if (!ticked.identified) await this.#identify(ticked)
      } catch (error) {
        if (!this.#link.isUp) throw error
        failure ??= { error }
      }
    const due = dirty.filter(({ identified }) => identified)
    return failure === undefined ? { due } : { due, failure }
  }

  /** In one round trip, each in a transaction of its own: once it is sent, the server brings it to its end, whatever becomes of this process. */
  async #tickAll(due: readonly Ticked[]): Promise<readonly Tick[]> {
    if (!this.#options.notifications) return this.#tickUnprepared(due)
    const connection = await this.#link.connected()
    together(connection)
    const answers = await Promise.allSettled(due.map(({ schema }) => this.#tick(connection, schema)))
    const lost = answers.find((answer) => answer.status === 'rejected' && !isAnswered(answer.reason))
    if (lost?.status === 'rejected') {
      this.#link.giveUp(connection)
      throw lost.reason
    }
    const ticks: Tick[] = []
    for (const [index, answer] of answers.entries()) {
      if (answer.status === 'rejected') await this.#mend(due[index]!, answer.reason)
      ticks.push({ count: answer.status === 'rejected' ? perTick : answer.value, head: undefined })
    }
    return ticks
  }

  async #tick(connection: PgConnection, { sql }: SchemaName): Promise<number> {
    this.#options.count()
    const query = { ...statement(`SELECT ${sql}.tick(${perTick}) AS count`), query_timeout: queryTimeoutMs }
    return firstOf(((await connection.query(query)) as PgResult).rows)
  }

  /** Behind a pooler: nothing is prepared, no setting stays, and that others have numbered something shows by the head. */
  async #tickUnprepared(due: readonly Ticked[]): Promise<readonly Tick[]> {
    const text = due
      .map(
        ({ schema }) =>
          `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT ${schema.sql}.tick(${perTick}) AS count, (${headOf(schema)}) AS head; COMMIT`,
      )
      .join('; ')
    try {
      return (await this.#link.query(text))
        .filter(({ command }) => command === 'SELECT')
        .map(({ rows }) => tickOf(rows[0]))
    } catch (error) {
      if (!isAnswered(error)) throw error
      await this.#link.query('ROLLBACK')
      if (due.length > 1) {
        const ticks: Tick[] = []
        for (const ticked_ of due) ticks.push(...(await this.#tickUnprepared([ticked_])))
        return ticks
      }
      await this.#mend(due[0]!, error)
      return [{ count: perTick, head: undefined }]
    }
  }

  /** What stands in the way of a tick and can be put right. */
  async #mend(ticked_: Ticked, error: unknown): Promise<void> {
    const { sql } = ticked_.schema
    const missing = codeOf(error) === '23514'
    if (missing) await this.#link.query(`SELECT ${sql}.create_partitions()`)
    else if (codeOf(error) === states.xidsWentBack) await this.resync(ticked_.schema)
    else throw error
  }

  /**
   * A log that was restored on another server has transaction ids of the old one: it is numbered anew. A promoted standby goes
   * on, as a new incarnation: what readers have seen may be missing in it.
   */
  async #identify(ticked_: Ticked): Promise<void> {
    const { environment } = this.#options
    const { sql } = ticked_.schema
    const [result] = await this.#link.query(
      `SELECT m.system_identifier AS known, m.timeline, c.system_identifier::text AS is,
         CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS is_timeline
       FROM ${sql}.meta m, pg_control_system() c`,
    )
    const row = result!.rows[0] as { known: string; timeline: string; is: string; is_timeline: string | null }
    // Its connections outlive a promotion: what it is then is asked again.
    if (row.is_timeline === null)
      throw new PabalError('PABAL_STORE_READONLY', `${this.#options.label} is a standby: only the primary ticks`)
    if (row.known !== '' && row.known !== row.is) await this.resync(ticked_.schema)
    else if (row.timeline !== '' && row.timeline !== row.is_timeline) {
      await this.#link.query(
        `UPDATE ${sql}.meta SET incarnation = '${environment.id()}', timeline = '${row.is_timeline}' WHERE timeline = '${row.timeline}'`,
      )
      this.generation++
    }
    if (row.known !== row.is || row.timeline !== row.is_timeline)
      await this.#link.query(`UPDATE ${sql}.meta SET system_identifier = '${row.is}', timeline = '${row.is_timeline}'`)
    ticked_.identified = true
  }

  /** Numbers by id what has no position, and begins a new incarnation: the server is another one than before. */
  async resync({ sql, name }: SchemaName): Promise<void> {
    const { environment, warn, label } = this.#options
    try {
      await this.#link.query(
        `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = ${resyncLockMs}; SELECT ${sql}.resync('${environment.id()}'); COMMIT`,
        60_000,
      )
    } catch (error) {
      if (isAnswered(error)) await this.#link.query('ROLLBACK')
      if (codeOf(error) !== '55P03') throw error
      throw new PabalError(
        'PABAL_RESYNC_BLOCKED',
        `${label}: the log in ${name} has come to another server and must be numbered anew; ${await this.#blockers(sql)}`,
        { cause: error },
      )
    }
    warn(
      `the log in ${name}`,
      new PabalError(
        'PABAL_LOG_REWOUND',
        `${label} is another server than before, or an older copy; the log has been numbered anew`,
      ),
    )
    this.generation++
    this.#news()
  }

  async #blockers(sql: string): Promise<string> {
    const [result] = await this.#link.query(
      `SELECT coalesce(
         (SELECT string_agg('the prepared transaction ' || quote_literal(x.gid) || ' is in its way (COMMIT PREPARED or ROLLBACK PREPARED)', ', ')
          FROM pg_prepared_xacts x JOIN pg_locks own ON own.transactionid = x.transaction AND own.pid IS NULL
          JOIN pg_locks l ON l.virtualtransaction = own.virtualtransaction AND l.pid IS NULL
          WHERE l.relation IN (SELECT '${sql}.event'::regclass UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = '${sql}.event'::regclass) AND l.granted),
         'an open transaction is in its way')`,
    )
    return String((result!.rows[0] as Record<string, unknown>)['coalesce'])
  }

  /** A tick takes milliseconds. Whoever holds its lock for long is a client that froze in a transaction of its own making. */
  async #busy(ticked_: Ticked): Promise<void> {
    const { environment, warn, label } = this.#options
    const nowMs = environment.now()
    ticked_.busySinceMs ??= nowMs
    if (nowMs - ticked_.busySinceMs < busyMs) return
    ticked_.busySinceMs = nowMs
    const [result] = await this.#link.query(
      `SELECT a.pid, a.application_name, a.state, a.application_name ~ '^(pabal|pooled):' AND pg_terminate_backend(a.pid) AS ended
       FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
       WHERE l.locktype = 'advisory' AND l.granted AND a.state LIKE 'idle in transaction%'
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.objsubid = 1
         AND (l.classid::bigint << 32) | l.objid::bigint = ${ticked_.schema.sql}.tick_lock()`,
    )
    for (const row of (result?.rows ?? []) as Record<string, unknown>[])
      warn(
        `ticking ${label}`,
        `session ${String(row['pid'])} (${String(row['application_name'])}) holds the tick of ${ticked_.schema.name} and does nothing${row['ended'] === true ? '; it was ended' : ''}`,
      )
  }

  #lost(how: 'given up' | 'broken'): void {
    this.generation++
    for (const ticked of this.#contexts.values()) {
      ticked.dirty ||= how === 'broken'
      ticked.identified = false
      ticked.seen = undefined
    }
    if (how === 'broken') this.#ring()
  }
}

const headOf = ({ sql }: SchemaName): string => `SELECT head FROM ${sql}.sequencer ORDER BY n DESC LIMIT 1`

/** How many events a tick numbered, and up to where others had; undefined: unknown. */
interface Tick {
  readonly count: number
  readonly head: number | undefined
}
const tickOf = (row: unknown): Tick => {
  const { count, head } = row as Record<keyof Tick, unknown>
  return { count: Number(count), head: Number(head) }
}
