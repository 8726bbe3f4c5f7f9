/**
 * PORT of a context's own database: event log, cursors, inbox, parked keys, timers and units, all in one transaction.
 * Every adapter passes the contract suite of `pabal/testing` and keeps P1 to P6 and P8 by itself.
 */

import type { Awaitable } from '../core/awaitable.ts'
import type { Environment } from '../core/environment.ts'
import type { EventRecord, StoredEvent } from '../event/envelope.ts'

/**
 * What a context is given to live in: a database, and the handle on its transactions that user code sees.
 * `Tx` is that handle, `Own` a transaction that the caller began by itself (`join`).
 */
export interface Store<Tx = unknown, Own = unknown> {
  readonly '~pabal': { readonly tx?: (tx: Tx) => Tx; readonly own?: (own: Own) => void }
  readonly database: DatabaseSource
  /** The handle for user code; unusable after the session's end (PABAL_UNIT_CLOSED). */
  tx(session: Session): Tx
  /** The same for reads outside of a unit. */
  reader(session: Session): Tx
}

/** A database that is not open yet. Two stores with the same identity share one database, its connection and its transactions. */
export interface DatabaseSource {
  readonly identity: unknown
  /** For people: a path, a host and database name; no credentials. */
  readonly label: string
  /** The SQL that its handle speaks. */
  readonly dialect: 'sqlite' | 'postgres'
  /** @throws PABAL_STORE_UNREACHABLE, PABAL_STORE_FOREIGN, PABAL_STORE_READONLY */
  open(environment: Environment, options?: OpenOptions): Awaitable<Database>
  /** The statements that create a context's tables, for reading. */
  ddl(context: string): string
  /** What a backup holds, without changing it. @throws PABAL_STORE_UNREACHABLE, PABAL_STORE_FOREIGN */
  peek(backup: string): Promise<readonly BackedUpLog[]>
  /** Replaces the closed database by a backup and starts a new incarnation of every log in it. @throws PABAL_RESTORE_IN_USE */
  restore(backup: string): Promise<void>
}

export interface OpenOptions {
  /** Creates and migrates nothing: what is not there yet, or older, is an error. For looking and operating. */
  readonly existing?: boolean
  /** Told of what goes wrong where nobody waits for an answer. */
  readonly warn?: (what: string, error: unknown) => void
}

export interface TransactionOptions {
  /** Transactions with this name run one after the other, in whatever process. */
  readonly alone?: string
  /**
   * A process that is silent for so long inside of the transaction loses it, since others may wait for what it has locked. Default
   * 15,000 ms; `Infinity`: as the database is set, for code of the user's, which may wait for anything.
   */
  readonly silentMs?: number
}

/** Of pabal's own transactions, in which nobody waits for anything else. */
export const ownSilentMs = 15_000

/** A log inside of a backup. */
export interface BackedUpLog extends Head {
  readonly context: string
}

/** One open transaction, or, in `read`, a view of what is committed. Store operations take it as their first argument. */
export interface Session {
  /** Runs `fn` so that its writes can be undone alone: they are when it throws. */
  savepoint<R>(fn: () => Awaitable<R>): Awaitable<R>
}

export interface Database {
  readonly label: string
  /** Names this process in leases; unique per open database. */
  readonly owner: string
  /** Lanes of a new durable handler, where nothing else is said. */
  readonly defaultLanes: number
  /** Creates or migrates the tables of one context. @throws PABAL_STORE_NEWER; with `existing` also PABAL_STORE_OLDER */
  context(name: string, options?: OpenOptions): Promise<ContextStore>
  /**
   * Commits when `fn` returns, rolls back when it throws. `fn` runs again from its beginning when the database gives the
   * transaction up for another one's sake (deadlock, serialization).
   * @throws PABAL_STORE_BUSY, PABAL_STORE_FULL, PABAL_STORE_CONFLICT, PABAL_ROLLED_BACK, PABAL_COMMIT_UNKNOWN
   */
  transaction<R>(fn: (session: Session) => Awaitable<R>, options?: TransactionOptions): Promise<R>
  /** Runs `fn` in a transaction that the caller owns. @throws PABAL_NOT_A_TRANSACTION */
  join<R>(own: unknown, fn: (session: Session) => Awaitable<R>): Promise<R>
  /** A view that waits for no writer. */
  read<R>(fn: (session: Session) => Awaitable<R>): Promise<R>
  /** Resolves when every event that was committed before the call has its position, so that reads find it. */
  sequence(): Promise<void>
  /**
   * Calls back soon after the log of a context may have grown, by this process or another; without a context anything may have
   * changed. A hint: it may be wrong or missing.
   */
  onNews(listener: (context?: string) => void): () => void
  /** Grows when the database may have become another (a lost connection, a restored copy): places in it must be checked again. */
  readonly generation: number
  /** Writes a consistent copy to a new file or place. @throws PABAL_BACKUP_TARGET_EXISTS */
  backup(target: string): Promise<void>
  /** What `pabal doctor` looks at. */
  diagnose(): Promise<readonly Finding[]>
  /** What `pabal db status` shows: sizes, and the migrations of these contexts. */
  describe(contexts: readonly string[]): Promise<Description>
  close(): Promise<void>
}

export interface Finding {
  readonly level: 'ok' | 'warning' | 'problem'
  readonly title: string
  readonly detail: string
  readonly remedy?: string
}

export interface Description {
  readonly bytes: number
  /** What is committed and not yet moved to its place, on top of `bytes`. */
  readonly pendingBytes: number
  readonly migrations: readonly MigrationState[]
}

export interface MigrationState {
  readonly context: string
  readonly version: number
  readonly name: string
  /** Null: not applied yet. */
  readonly atMs: number | null
}

export interface ContextStore {
  readonly name: string
  readonly log: Log
  readonly cursors: Cursors
  readonly editions: Editions
  readonly inbox: Inbox
  readonly early: Early
  readonly parking: Parking
  readonly timers: Timers
  readonly units: Units
  readonly readers: Readers
}

export interface Head {
  /** Position of the last event; 0 when there is none. */
  readonly position: number
  /** Changes when the log is restored. */
  readonly incarnation: string
}

/** Keys of one lane, or several, of a consumer with so many lanes. */
export interface LaneFilter {
  readonly lane: number | readonly number[]
  readonly lanes: number
}

export interface ReadOptions {
  /** Only events after this position. */
  readonly after: number
  /** Only these types; all when undefined. */
  readonly types?: readonly string[] | undefined
  /** Only keys of these lanes; all when undefined. */
  readonly lane?: LaneFilter | undefined
  readonly limit: number
}

export interface Log {
  /** Gives each event its sequence (1, 2, 3 … per key) and stores it, in the given order. @throws PABAL_SEQUENCE_CONFLICT */
  append(session: Session, events: readonly EventRecord[]): Awaitable<void>
  head(session: Session): Awaitable<Head>
  /** In order of position. `through`: everything up to there was looked at, so a cursor may move there. */
  readAfter(
    session: Session,
    options: ReadOptions,
  ): Awaitable<{ readonly events: readonly StoredEvent[]; readonly through: number }>
  /** The last `limit` events before a position (or the end), of these types and this key where given, in order of position. */
  readBefore(
    session: Session,
    options: {
      before?: number | undefined
      after?: number | undefined
      types?: readonly string[] | undefined
      key?: string | undefined
      limit: number
    },
  ): Awaitable<readonly StoredEvent[]>
  /** One key's events from a sequence on, in order. */
  readKey(
    session: Session,
    key: string,
    options: { from: number; types?: readonly string[] | undefined; limit: number },
  ): Awaitable<readonly StoredEvent[]>
  /** The key's last event of these types before a sequence; a bare sequence when retention has dropped the event itself. */
  previous(
    session: Session,
    key: string,
    before: number,
    types: readonly string[],
  ): Awaitable<StoredEvent | { readonly droppedSequence: number } | undefined>
  byId(session: Session, id: string): Awaitable<StoredEvent | undefined>
  /**
   * Which of these ids of foreign producers' events (`foreignId`) the log has, also those that have no position yet. What
   * retention has dropped may or may not be among them.
   */
  foreign(session: Session, ids: readonly string[]): Awaitable<ReadonlySet<string>>
  byCorrelation(session: Session, correlationId: string, limit: number): Awaitable<readonly StoredEvent[]>
  at(session: Session, position: number): Awaitable<StoredEvent | undefined>
  /** Events of these types after a position (and up to another), whose key begins with `prefix`, and not with `exceptPrefix`; for plans. */
  count(
    session: Session,
    options: {
      after: number
      through?: number
      types?: readonly string[] | undefined
      lane?: LaneFilter | undefined
      prefix?: string | undefined
      exceptPrefix?: string | undefined
    },
  ): Awaitable<number>
  /** Events whose key begins so; by the index of keys, not by reading the log. */
  countKeys(session: Session, prefix: string): Awaitable<number>
  /** Every type and version that this log has been able to hold. */
  types(session: Session): Awaitable<readonly { readonly type: string; readonly version: number }[]>
  declareTypes(session: Session, types: readonly { readonly type: string; readonly version: number }[]): Awaitable<void>
  forgetType(session: Session, type: string): Awaitable<void>
  /** Drops events up to a position; sequences go on where they were. Returns how many. */
  dropThrough(session: Session, position: number): Awaitable<number>
  /** Position of the oldest event that is still there (head + 1 when none is). */
  oldest(session: Session): Awaitable<number>
  newIncarnation(session: Session, incarnation: string): Awaitable<void>
}

export interface ConsumerRow {
  readonly name: string
  readonly effects: 'database' | 'external'
  readonly state: 'active' | 'paused'
  readonly reason: string | null
  readonly lanes: number
  readonly types: readonly string[]
  readonly created_ms: number
  readonly skipped: number
  /** Set while the circuit breaker is open: when it tries again, and the error. */
  readonly breaker_until_ms: number | null
  readonly breaker_error: string | null
}

export interface CursorRow {
  readonly consumer: string
  /** The context whose log is read. */
  readonly source: string
  readonly lane: number
  readonly position: number
  /** Where it began, or was last reset to if that is earlier: what is not after it was never handed to this consumer. */
  readonly start_position: number
  /** Identity of the event at the position, to notice a rewound log (P8); null at a start. */
  readonly event_id: string | null
  readonly incarnation: string
  /** Grows with each claim; a stale owner's moves are refused. */
  readonly epoch: number
  readonly owner: string | null
  readonly until_ms: number
  /** Claims since the cursor last moved: a handler that kills its process, or outlives its lease, shows here. */
  readonly stalls: number
  /** Everything up to there was checked against `within`; the first lane speaks for all of its source. */
  readonly late: number
  /** The process that wishes to have the lane, and until when, by the database's clock. */
  readonly wisher: string | null
  readonly wish_until_ms: number
}

/** Whose a lane is, and who wishes to have it, as of now. */
export interface LaneHolder {
  readonly lane: number
  readonly owner: string | null
  readonly wisher: string | null
}

/** A consumer over a source. */
export interface Consumption {
  readonly consumer: string
  readonly source: string
}

export interface CursorId extends Consumption {
  readonly lane: number
}

export interface Place {
  readonly position: number
  readonly eventId: string | null
  readonly incarnation: string
}

export interface LaneMove {
  readonly lane: number
  readonly epoch: number
  readonly from: number
  readonly to: Place
}

export interface Cursors {
  consumers(session: Session): Awaitable<readonly ConsumerRow[]>
  consumer(session: Session, name: string): Awaitable<ConsumerRow | undefined>
  /** Registers a consumer, or updates effects and types of the one that is there. Lanes are fixed at the first time. */
  register(
    session: Session,
    consumer: Pick<ConsumerRow, 'name' | 'effects' | 'lanes' | 'types'>,
  ): Awaitable<ConsumerRow>
  update(
    session: Session,
    name: string,
    change: Partial<Pick<ConsumerRow, 'state' | 'reason' | 'breaker_until_ms' | 'breaker_error'>>,
  ): Awaitable<void>
  /** Renames everything that belongs to the consumer. @throws PABAL_CONSUMER_NAME_TAKEN */
  rename(session: Session, from: string, to: string): Awaitable<void>
  cursors(session: Session, consumer?: string): Awaitable<readonly CursorRow[]>
  /** Creates a cursor where it should start; one that is there stays. */
  create(session: Session, id: CursorId, start: Place): Awaitable<void>
  /** Everything up to a position was checked against `within`. */
  late(session: Session, id: CursorId, position: number): Awaitable<void>
  /**
   * Takes the lease if nobody has it (or its owner is gone), and nobody else wishes for it; epoch and stalls grow, and a wish has
   * come true. Undefined: somebody else has it, or is about to.
   */
  claim(session: Session, id: CursorId, leaseMs: number): Awaitable<CursorRow | undefined>
  /**
   * The fence: moves cursors of one consumer, sets their stalls and renews their leases, if each epoch is still this owner's and
   * each cursor still where it was. Returns which of the lanes somebody wishes for; undefined when the fence has held, and the
   * transaction must roll back.
   */
  move(
    session: Session,
    of: { readonly consumer: string; readonly source: string },
    moves: readonly LaneMove[],
    lease: { readonly leaseMs: number; readonly stalls: number },
  ): Awaitable<readonly number[] | undefined>
  /** The same fence without a move: renews the lease and tells where the cursor is; undefined when the epoch is a stale owner's. */
  hold(session: Session, id: CursorId, epoch: number, leaseMs: number): Awaitable<number | undefined>
  /** The lanes by number. Another owner of which every lease has run out is none, and neither is a wish that has. */
  holders(
    session: Session,
    of: { readonly consumer: string; readonly source: string },
  ): Awaitable<readonly LaneHolder[]>
  /**
   * Wishes for lanes of others, for so long: their owner is told with its next move, and nobody else claims them. A lane that
   * somebody else wishes for is left out. Disturbs no owner: neither epoch, owner nor place change, and it waits for no lock.
   */
  wish(
    session: Session,
    of: { readonly consumer: string; readonly source: string },
    lanes: readonly number[],
    wishMs: number,
  ): Awaitable<void>
  /** Gives the lease back; the epoch stays. `stalls` are 0 unless given. */
  release(session: Session, id: CursorId, epoch: number, stalls?: number): Awaitable<void>
  /** Takes every lane of a consumer away from its owner (pause, reset, rename): the epoch grows. */
  revoke(session: Session, consumer: string): Awaitable<void>
  /** Puts all lanes over one source to a place; parked keys and inbox heads of it are forgotten. */
  reset(session: Session, consumer: string, source: string, to: Place): Awaitable<void>
  /** Forgets a consumer with everything that belongs to it. */
  remove(session: Session, consumer: string): Awaitable<void>
}

export interface RunningEdition extends Consumption {
  readonly edition: number
  readonly processes: number
}

/**
 * What the versions of a handler want of a source, in the order in which they came, and which processes run which. While a process
 * runs the newest one, those that run an older one leave the work to it: they would pass over what only the newest handles.
 */
export interface Editions {
  /** How often a process has to join again, since nothing else tells that it is there; undefined: never. */
  readonly stayMs: number | undefined
  /**
   * This process runs the consumer, and wants this. Returns the number of its edition: the one that it had when it was first seen,
   * else a new one. If no newer one runs, lanes of processes that run another one are fenced, and free; where effects are outside
   * they stay with their owner until it gives them back or its lease runs out, since a call may be under way. In the transaction
   * that registers the consumer.
   */
  join(session: Session, of: Consumption, wants: string): Awaitable<number>
  /** Whether another process runs a newer one, and is not gone for certain. */
  isSuperseded(session: Session, of: Consumption, edition: number): Awaitable<boolean>
  /** This process does not run the consumer any more. */
  leave(session: Session, of: Consumption): Awaitable<void>
  /** How many processes run each edition, as far as is known. */
  running(session: Session): Awaitable<readonly RunningEdition[]>
  /** What is wanted of a source by whatever process, in whatever edition, of whatever consumer. In a transaction: who is gone is noted. */
  wanted(session: Session, source: string): Awaitable<readonly string[]>
}

/** The last event of a key that a consumer has applied over a stream: one row per consumer, source, stream and key. */
export interface InboxHead {
  readonly sequence: number
  readonly eventId: string
  readonly incarnation: string
}

export interface InboxStream {
  readonly consumer: string
  readonly source: string
  readonly stream: string
}

export interface Inbox {
  /** `lock`: nobody else who locks reads or moves them until the transaction has ended, also where there is none yet. */
  heads(
    session: Session,
    stream: InboxStream,
    keys: readonly string[],
    options?: { readonly lock?: boolean },
  ): Awaitable<ReadonlyMap<string, InboxHead>>
  advance(session: Session, stream: InboxStream, heads: ReadonlyMap<string, InboxHead>): Awaitable<void>
  /** The heads of one stream become those of another, which has none yet: what was applied there is not applied again. */
  copy(session: Session, from: InboxStream, to: InboxStream): Awaitable<void>
  /** After a rewind: every head must be compared with the producer's log before its key goes on. */
  distrust(session: Session, consumer: string, source: string): Awaitable<void>
  /** All heads of a source: what it has is applied again. */
  forget(session: Session, consumer: string, source: string): Awaitable<void>
}

/** A message that came before what stands in front of it. */
export interface EarlyEvent {
  readonly key: string
  readonly sequence: number
  /** A log that was restored gives a sequence again, to another event. */
  readonly eventId: string
  /** What it waits for. */
  readonly reason: string
  /** The whole event. */
  readonly text: string
  readonly sinceMs: number
}

/** Received events that cannot be applied yet: stored, so that their messages can be acknowledged. */
export interface Early {
  /** Of these keys, in order of their sequences. */
  ofKeys(session: Session, stream: InboxStream, keys: readonly string[]): Awaitable<readonly EarlyEvent[]>
  /** One that is there already stays. */
  put(session: Session, stream: InboxStream, events: readonly EarlyEvent[]): Awaitable<void>
  remove(
    session: Session,
    stream: InboxStream,
    events: readonly Pick<EarlyEvent, 'key' | 'sequence' | 'eventId'>[],
  ): Awaitable<void>
  /** How many events wait, of how many keys, by reason. */
  count(
    session: Session,
    stream: InboxStream,
  ): Awaitable<readonly { readonly reason: string; readonly events: number; readonly keys: number }[]>
}

export type ParkedStatus = 'retrying' | 'dead'

export interface ParkedKey {
  readonly consumer: string
  readonly source: string
  readonly key: string
  readonly lane: number
  readonly status: ParkedStatus
  /** The failing event: where the key waits. */
  readonly sequence: number
  readonly position: number
  readonly event_id: string
  readonly type: string
  /** How often the handler has run on it. */
  readonly attempts: number
  /** When it is tried next, while retrying. */
  readonly next_ms: number
  readonly error: ParkedError
  readonly first_failed_ms: number
  readonly last_failed_ms: number
  /** Later events of the key that have queued up behind. */
  readonly waiting: number
  /** A person's replacement of the payload, for this consumer only. */
  readonly edited: EditedEvent | null
}

export interface ParkedError {
  readonly name: string
  readonly message: string
  readonly code?: string
  readonly stack?: string
  /** Groups what failed for the same reason: the error's name and its first frame. */
  readonly fingerprint: string
}

export interface EditedEvent {
  readonly id: string
  readonly data: string
  readonly by: string
  readonly reason: string
}

export interface SkippedEvent {
  readonly consumer: string
  readonly source: string
  readonly event_id: string
  readonly key: string
  readonly sequence: number
  readonly type: string
  readonly reason: string
  readonly by: string
  readonly at_ms: number
}

export interface ParkedFilter {
  readonly consumer?: string | undefined
  readonly source?: string | undefined
  readonly status?: ParkedStatus | undefined
  readonly key?: string | undefined
  readonly event_id?: string | undefined
  readonly type?: string | undefined
  readonly fingerprint?: string | undefined
}

/** Parked keys of one consumer that wait for the same reason. */
export interface ParkedGroup {
  readonly consumer: string
  readonly source: string
  readonly status: ParkedStatus
  readonly fingerprint: string
  readonly keys: number
  readonly waiting: number
  readonly first_failed_ms: number
  readonly last_failed_ms: number
}

export interface Parking {
  /** Position of the first event that a parked key of this source still needs; undefined when none is parked. */
  oldestNeeded(session: Session, source: string, consumer?: string): Awaitable<number | undefined>
  /** Which of these keys are parked. */
  parkedOf(session: Session, consumer: string, source: string, keys: readonly string[]): Awaitable<ReadonlySet<string>>
  get(session: Session, consumer: string, source: string, key: string): Awaitable<ParkedKey | undefined>
  /** Parks a key, or replaces what it is parked with. */
  put(session: Session, parked: ParkedKey): Awaitable<void>
  /** Counts events that queue up behind parked keys; false when one of the keys is not parked any more. */
  addWaiting(
    session: Session,
    consumer: string,
    source: string,
    waiting: ReadonlyMap<string, number>,
  ): Awaitable<boolean>
  remove(session: Session, consumer: string, source: string, key: string): Awaitable<void>
  /** Keys of a lane that are due to be tried again, the longest due first. */
  due(session: Session, id: CursorId, nowMs: number, limit: number): Awaitable<readonly ParkedKey[]>
  /** When the next retry of a consumer is due; undefined when none is. */
  nextDueMs(session: Session, consumer: string, source: string): Awaitable<number | undefined>
  list(session: Session, filter: ParkedFilter, limit: number): Awaitable<readonly ParkedKey[]>
  /** `mostWaiting`: behind the key that holds up most. */
  count(
    session: Session,
    filter: ParkedFilter,
  ): Awaitable<{ readonly keys: number; readonly waiting: number; readonly mostWaiting: number }>
  /** Grouped by consumer, source, status and fingerprint; those that hold up most first. */
  groups(session: Session, filter: ParkedFilter): Awaitable<readonly ParkedGroup[]>
  /** Makes every dead key that matches due now, with a full set of attempts. Returns how many. */
  retry(session: Session, filter: ParkedFilter, nowMs: number): Awaitable<number>
  /** Records that an event was left out, and counts it at its consumer. */
  skip(session: Session, skipped: SkippedEvent): Awaitable<void>
  skipped(session: Session, consumer: string | undefined, limit: number): Awaitable<readonly SkippedEvent[]>
  /** Whether, and how, one event was left out by a consumer. */
  skippedOf(session: Session, consumer: string, source: string, eventId: string): Awaitable<SkippedEvent | undefined>
}

export interface Timer {
  readonly id: string
  readonly due_ms: number
  /** Whose timer it is. */
  readonly owner: string
  readonly key: string
  /** JSON text. */
  readonly payload: string
}

/** Due times that outlive the process. Firing is: act and remove, in one transaction. */
export interface Timers {
  /** Sets a timer, or moves the one with this id. */
  set(session: Session, timer: Timer): Awaitable<void>
  cancel(session: Session, id: string): Awaitable<boolean>
  due(session: Session, owner: string, nowMs: number, limit: number): Awaitable<readonly Timer[]>
  nextDueMs(session: Session, owner: string): Awaitable<number | undefined>
}

export interface Reader {
  /** `<context>/<consumer>` */
  readonly name: string
  /** It needs nothing up to here any more. */
  readonly position: number
  readonly seen_ms: number
}

/** Consumers in other contexts' databases, as far as this log must know them: retention keeps what they have not read. */
export interface Readers {
  report(session: Session, name: string, position: number): Awaitable<void>
  list(session: Session): Awaitable<readonly Reader[]>
  forget(session: Session, name: string): Awaitable<void>
}

/** What a unit with an idempotency key has answered, stored with its effects. */
export interface Units {
  get(session: Session, key: string): Awaitable<{ readonly what: string; readonly result: string } | undefined>
  put(session: Session, key: string, what: string, result: string): Awaitable<void>
  /** Forgets keys older than a time. Returns how many. */
  dropBefore(session: Session, atMs: number): Awaitable<number>
  /** Keys that are older than a time. */
  countBefore(session: Session, atMs: number): Awaitable<number>
}
