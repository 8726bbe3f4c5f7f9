/** Every error pabal raises: a stable code, what happened, the remedy, and whether a retry helps. */

export type ErrorCode =
  | 'PABAL_DEFINITION_INVALID'
  | 'PABAL_COMPOSITION_INVALID'
  | 'PABAL_PAYLOAD_INVALID'
  | 'PABAL_PAYLOAD_NOT_JSON'
  | 'PABAL_PAYLOAD_TOO_LARGE'
  | 'PABAL_PAYLOAD_TOO_DEEP'
  | 'PABAL_PAYLOAD_FORBIDDEN_KEY'
  | 'PABAL_PAYLOAD_MISSING'
  | 'PABAL_SCHEMA_ASYNC'
  | 'PABAL_MESSAGE_INVALID'
  | 'PABAL_MESSAGE_TOO_LARGE'
  | 'PABAL_METADATA_INVALID'
  | 'PABAL_UNKNOWN_EVENT_TYPE'
  | 'PABAL_UNKNOWN_EVENT_VERSION'
  | 'PABAL_UPCAST_FAILED'
  | 'PABAL_PUBLICATION_FAILED'
  | 'PABAL_NO_UNIT_OF_WORK'
  | 'PABAL_UNIT_CLOSED'
  | 'PABAL_TRANSACTION_CONTROL'
  | 'PABAL_SEVERAL_STATEMENTS'
  | 'PABAL_NOT_A_TRANSACTION'
  | 'PABAL_RAISE_DEPTH'
  | 'PABAL_HOP_LIMIT'
  | 'PABAL_SEQUENCE_CONFLICT'
  | 'PABAL_NO_HANDLER'
  | 'PABAL_IDEMPOTENCY_KEY_REUSED'
  | 'PABAL_RESULT_NOT_JSON'
  | 'PABAL_ROLLED_BACK'
  | 'PABAL_START_AT_REQUIRED'
  | 'PABAL_LOG_REWOUND'
  | 'PABAL_KEY_DIVERGED'
  | 'PABAL_EVENT_MISSING'
  | 'PABAL_CONSUMER_UNKNOWN'
  | 'PABAL_CONSUMER_NAME_TAKEN'
  | 'PABAL_CONSUMER_NOT_RESETTABLE'
  | 'PABAL_DEAD_LETTER_UNKNOWN'
  | 'PABAL_EVENT_UNKNOWN'
  | 'PABAL_PLAN_CHANGED'
  | 'PABAL_CONFIRMATION_NEEDED'
  | 'PABAL_HANDLER_TIMEOUT'
  | 'PABAL_HANDLER_CRASHED'
  | 'PABAL_HANDLER_SUPERSEDED'
  | 'PABAL_SETTLE_TIMEOUT'
  | 'PABAL_STORE_BUSY'
  | 'PABAL_STORE_FULL'
  | 'PABAL_STORE_READONLY'
  | 'PABAL_STORE_UNREACHABLE'
  | 'PABAL_STORE_FOREIGN'
  | 'PABAL_STORE_NEWER'
  | 'PABAL_STORE_OLDER'
  | 'PABAL_STORE_CLOSED'
  | 'PABAL_STORE_CONFLICT'
  | 'PABAL_STORE_FORBIDDEN'
  | 'PABAL_STORE_POOLED'
  | 'PABAL_STORE_PARTITION_MISSING'
  | 'PABAL_STORE_OWN_TOOLS'
  | 'PABAL_COMMIT_UNKNOWN'
  | 'PABAL_RESYNC_BLOCKED'
  | 'PABAL_REPLICATION_UNAVAILABLE'
  | 'PABAL_CHANGES_MISSING'
  | 'PABAL_CAPTURE_STOPPED'
  | 'PABAL_TRANSPORT_UNREACHABLE'
  | 'PABAL_TRANSPORT_INVALID'
  | 'PABAL_BACKUP_TARGET_EXISTS'
  | 'PABAL_RESTORE_IN_USE'
  | 'PABAL_CONFIG_INVALID'
  | 'PABAL_COMMAND_TIMEOUT'
  | 'PABAL_USAGE'
  | 'PABAL_CHECK_FAILED'

export interface ErrorEntry {
  /** One sentence, the same for every occurrence. */
  readonly title: string
  readonly remedy: string
  /** The same call may succeed later without a change. */
  readonly retryable: boolean
  /** HTTP status when it crosses an HTTP border. */
  readonly status: number
  /** CLI exit code: 1 failed, 2 usage, 3 unreachable, 4 a check found a problem. */
  readonly exit: 1 | 2 | 3 | 4
}

const entry = (title: string, remedy: string, options: Partial<ErrorEntry> = {}): ErrorEntry => ({
  title,
  remedy,
  retryable: false,
  status: 500,
  exit: 1,
  ...options,
})
const usage = { status: 400, exit: 2 } as const
const busy = { retryable: true, status: 503, exit: 3 } as const

/** Codes are never reused and never change their meaning; `docs/reference/errors.md` has the same list. */
export const catalogue: Readonly<Record<ErrorCode, ErrorEntry>> = {
  PABAL_DEFINITION_INVALID: entry(
    'A definition (event, command, message, context, handler) contradicts a rule.',
    'Read the detail: it names the definition and the rule. Definitions are checked before anything runs.',
    usage,
  ),
  PABAL_COMPOSITION_INVALID: entry(
    'The contexts, handlers, stores and exchange given to createApp do not fit together.',
    'Read the detail: it names the context and the handler. Nothing was opened or started.',
    usage,
  ),
  PABAL_PAYLOAD_INVALID: entry(
    'A payload does not match the schema of its event, command or message.',
    'Correct the payload, or give the definition a new version with an upcaster.',
    usage,
  ),
  PABAL_PAYLOAD_NOT_JSON: entry(
    'A payload holds a value that JSON cannot carry unchanged.',
    'Use strings for dates and for integers beyond 2^53, null for absent numbers; no functions, NaN, Infinity, class instances.',
    usage,
  ),
  PABAL_PAYLOAD_TOO_LARGE: entry(
    'A payload is larger than the limit.',
    'Keep large content elsewhere and carry a link to it, or raise `limits.payloadBytes` (default 262,144 bytes).',
    { status: 413, exit: 2 },
  ),
  PABAL_PAYLOAD_TOO_DEEP: entry(
    'A payload is nested deeper than the limit.',
    'Flatten the payload, or raise `limits.payloadDepth` (default 64).',
    usage,
  ),
  PABAL_PAYLOAD_FORBIDDEN_KEY: entry(
    'A payload has a key named `__proto__` or `constructor`.',
    'Rename the key; these names change prototypes in careless code and are refused everywhere.',
    usage,
  ),
  PABAL_PAYLOAD_MISSING: entry(
    'A message says where its payload is kept, and it is not there.',
    'Give both sides the same store, keep payloads for longer than messages wait, and publish again: `pabal consumer reset` of the relay.',
  ),
  PABAL_SCHEMA_ASYNC: entry(
    'A schema validates asynchronously.',
    'Raising is synchronous: do asynchronous checks before, and keep the schema synchronous.',
    usage,
  ),
  PABAL_MESSAGE_INVALID: entry(
    'A message is not a CloudEvent 1.0 that can be read or written.',
    'Correct what the detail names at the producer. Events that are no CloudEvents need a translator.',
    usage,
  ),
  PABAL_MESSAGE_TOO_LARGE: entry(
    'A message is larger than the limit, or has more headers or events.',
    'Send less at a time and keep headers short, or raise the limit that the detail names.',
    { status: 413, exit: 2 },
  ),
  PABAL_METADATA_INVALID: entry(
    "The common metadata of a unit does not match its context's `metadata` schema.",
    'Pass `metadata` to transaction, join or send, or give the context `handlerMetadata` for units that start from a foreign event.',
    usage,
  ),
  PABAL_UNKNOWN_EVENT_TYPE: entry(
    'An event type is not in the registry of its context.',
    "Add the definition to the context's `events` (or `messages`), or list the name in `retired` when it is kept in the log only.",
    usage,
  ),
  PABAL_UNKNOWN_EVENT_VERSION: entry(
    'A stored event has a version that this code does not know.',
    'Deploy code that defines this version, or add the missing upcaster; then retry the parked key.',
  ),
  PABAL_UPCAST_FAILED: entry(
    'An upcaster threw or gave a payload that does not fit.',
    'Correct the upcaster (it must be pure), deploy, then retry the parked key.',
  ),
  PABAL_PUBLICATION_FAILED: entry(
    'The mapping of a private event to a public one threw, gave a payload that does not fit its schema, or changed an attribute that stays the same for a key (`perKey`).',
    'Correct the `publish(…)` of the producing context, deploy, then retry the parked key.',
  ),
  PABAL_NO_UNIT_OF_WORK: entry(
    'An event was raised outside a unit of work, or after its end.',
    'Raise inside transaction, join or a handler of the context that owns the event, and await everything that raises.',
    usage,
  ),
  PABAL_UNIT_CLOSED: entry(
    'A transaction was used after its unit of work had ended.',
    'Await every call that uses `tx` before the function returns, and keep no `tx` beyond it.',
    usage,
  ),
  PABAL_TRANSACTION_CONTROL: entry(
    'A unit of work tried to begin, commit or roll back by itself.',
    'Leave BEGIN, COMMIT, ROLLBACK and SAVEPOINT to pabal; throw to roll back.',
    usage,
  ),
  PABAL_SEVERAL_STATEMENTS: entry(
    'A call of `tx` was given several statements, of which only the first would run.',
    'Give each statement a call of its own.',
    usage,
  ),
  PABAL_NOT_A_TRANSACTION: entry(
    "`join` was given something that is not an open transaction of the context's own database.",
    'Begin a transaction on a connection to the same database and pass that connection, not a pool or an idle handle.',
    usage,
  ),
  PABAL_RAISE_DEPTH: entry(
    'Before-commit handlers kept raising events from events.',
    'Break the cycle that the detail shows, or make one of the handlers durable (default limit 16).',
    usage,
  ),
  PABAL_HOP_LIMIT: entry(
    'A chain of events causing events is longer than the limit.',
    'Look for a loop between contexts (`pabal trace`), or raise `limits.hops` (default 32).',
    usage,
  ),
  PABAL_SEQUENCE_CONFLICT: entry(
    'A key has moved on since it was read: its last sequence is not the expected one.',
    'Read the state again and decide again.',
    { retryable: true, status: 409 },
  ),
  PABAL_NO_HANDLER: entry(
    'No context of this app handles the command.',
    'Give its handler to `context.with({ handlers })` of a context of this app.',
    usage,
  ),
  PABAL_IDEMPOTENCY_KEY_REUSED: entry(
    'An idempotency key was used before for another command.',
    'Use a key that belongs to one request only.',
    { status: 422, exit: 2 },
  ),
  PABAL_RESULT_NOT_JSON: entry(
    'A unit with an idempotency key returned something that JSON cannot carry.',
    'Return JSON values (or nothing): the result is stored, and given again when the key comes again.',
    usage,
  ),
  PABAL_ROLLED_BACK: entry('A transaction did not commit.', 'Nothing was stored; run the unit again.', {
    retryable: true,
    status: 503,
  }),
  PABAL_START_AT_REQUIRED: entry(
    'A new durable handler with external effects meets a log that already has events.',
    "Say where it starts: `startAt: 'now'`, `'beginning'`, or a position. Nobody mails three years of orders by deploying.",
    usage,
  ),
  PABAL_LOG_REWOUND: entry(
    'The event at a cursor is not the one that was handled there: the log was restored or replaced.',
    'Compare with `pabal doctor`; then `pabal consumer reset` to where reading should go on.',
  ),
  PABAL_KEY_DIVERGED: entry(
    "A key's history at the producer is not the one that this consumer has applied (the producer was restored).",
    "Compare both sides; `pabal dead retry` takes the producer's history from here on, `pabal dead skip` leaves the event out.",
  ),
  PABAL_EVENT_MISSING: entry(
    'An event of a key has not arrived although a later one of the same key has.',
    "The key waits. It goes on by itself when the event can be read from the producer's log; otherwise ask the producer.",
  ),
  PABAL_CONSUMER_UNKNOWN: entry('No consumer of that name is registered.', 'List them with `pabal consumer list`.', {
    status: 404,
    exit: 2,
  }),
  PABAL_CONSUMER_NAME_TAKEN: entry(
    'A consumer of that name is registered already.',
    'Choose another name; names of consumers are durable ids.',
    { status: 409, exit: 2 },
  ),
  PABAL_CONSUMER_NOT_RESETTABLE: entry(
    'A handler with external effects cannot be reset: it would send, charge or mail again.',
    'Register a new handler under a new name with `startAt`, or retry single dead letters.',
    { status: 409, exit: 2 },
  ),
  PABAL_DEAD_LETTER_UNKNOWN: entry('No dead letter matches.', 'List them with `pabal dead list`.', {
    status: 404,
    exit: 2,
  }),
  PABAL_EVENT_UNKNOWN: entry('No event matches.', 'Look with `pabal log list`; ids are UUIDs, positions start at 1.', {
    status: 404,
    exit: 2,
  }),
  PABAL_PLAN_CHANGED: entry('What the plan counted is not what is there now.', 'Look at a new plan, then run it.', {
    status: 409,
    exit: 2,
  }),
  PABAL_CONFIRMATION_NEEDED: entry(
    'The operation changes state and was not confirmed.',
    'Add `--yes` after reading the plan.',
    {
      status: 428,
      exit: 2,
    },
  ),
  PABAL_HANDLER_TIMEOUT: entry(
    'A handler did not end within its time.',
    'Obey `signal`, shorten the work, or raise the handler option `timeoutMs`.',
    { retryable: true },
  ),
  PABAL_HANDLER_CRASHED: entry(
    'A handler ended its process, or outlived its lease, several times on the same event.',
    'Find out why in the logs of that time; correct the handler, then `pabal dead retry`.',
  ),
  PABAL_HANDLER_SUPERSEDED: entry(
    'Another process runs a newer version of a handler, which wants other events than the one here.',
    'Nothing while a deployment goes on: the newer version does the work. It is this one’s again when no process runs the newer one.',
    { retryable: true, status: 503 },
  ),
  PABAL_SETTLE_TIMEOUT: entry(
    'Not everything was handled within the given time.',
    'Look with `pabal status` at what is still waiting, or give `settle` more time.',
    { retryable: true, status: 503 },
  ),
  PABAL_STORE_BUSY: entry(
    'Somebody else held the database, or what is needed of it, for too long.',
    'Keep transactions short; try again. `busyTimeoutMs` bounds the wait on SQLite, `lockTimeoutMs` and the `connectionTimeoutMillis` of the pool on Postgres.',
    busy,
  ),
  PABAL_STORE_FULL: entry(
    'The disk of the database is full.',
    'Free space, then try again; nothing half-done was stored.',
    busy,
  ),
  PABAL_STORE_READONLY: entry(
    'The database cannot be written.',
    'Give this process write access to the file and its folder; on a server, connect to the primary, without `default_transaction_read_only`.',
    { exit: 3, status: 503 },
  ),
  PABAL_STORE_UNREACHABLE: entry(
    'The database cannot be opened.',
    'Check what the detail names. Of a file: its path, the rights of this process, and that the folder is on a local disk. Of a server: that it runs, its host, port and database, the user and the password.',
    { exit: 3, status: 503, retryable: true },
  ),
  PABAL_STORE_FOREIGN: entry(
    'What is there is not what pabal keeps its tables in.',
    'Give another path, or on a server another schema; nothing was changed.',
    { exit: 3, status: 503 },
  ),
  PABAL_STORE_NEWER: entry(
    'The database was migrated by a newer version of pabal.',
    'Run that version (or a later one); migrations go forward only.',
    { exit: 3, status: 503 },
  ),
  PABAL_STORE_OLDER: entry(
    'The database lacks a migration of this version of pabal.',
    'Run `pabal db migrate`, or start the app: both migrate forward.',
    { exit: 3, status: 503 },
  ),
  PABAL_STORE_CLOSED: entry('The app has been stopped.', 'Create and start a new app.', { status: 503 }),
  PABAL_STORE_CONFLICT: entry(
    'The database gave the transaction up for the sake of another one (deadlock, serialization), again and again.',
    'Repeat the unit. When it happens often: lock rows in one order, and keep units short.',
    busy,
  ),
  PABAL_STORE_FORBIDDEN: entry(
    'The database user lacks a right.',
    'Grant what the detail names. Creating and migrating needs CREATE on the database, running USAGE on the schema and all rights on its tables, sequences and functions.',
    { status: 503, exit: 3 },
  ),
  PABAL_STORE_POOLED: entry(
    'A pooler stands in between, and gives each transaction another connection.',
    'Say `pooler: true` in the options of the store, or connect without the pooler.',
    { status: 503, exit: 3 },
  ),
  PABAL_STORE_PARTITION_MISSING: entry(
    'There is no partition for the next events.',
    'Try again: it is made at once. Every process of the app makes them ahead; `pabal doctor` says why it could not.',
    busy,
  ),
  PABAL_STORE_OWN_TOOLS: entry(
    'This database is backed up and restored by its own tools.',
    'Use them; after a restore the log notices by itself that it is another, and says so.',
    usage,
  ),
  PABAL_COMMIT_UNKNOWN: entry(
    'The connection was lost before COMMIT was answered: the unit may have committed, or not.',
    'Repeat it with the same idempotency key: what committed gives its recorded answer and is not done twice.',
    { retryable: true, status: 503 },
  ),
  PABAL_RESYNC_BLOCKED: entry(
    'The log has come to another server and must be numbered anew, and a transaction is in the way.',
    'End the transaction that the detail names; it is tried again by itself.',
    busy,
  ),
  PABAL_REPLICATION_UNAVAILABLE: entry(
    'The database does not give its changes by logical replication.',
    'Correct what the detail names. The server needs `wal_level = logical` and free replication slots and WAL senders, its user REPLICATION, and a table that is captured a primary key or REPLICA IDENTITY FULL.',
    { status: 503, exit: 3 },
  ),
  PABAL_CHANGES_MISSING: entry(
    'Changes of the captured tables may be missing: what the server would send does not begin where the capture stands.',
    'Compare the tables with the events since the time that the detail names, and correct what is missing; then `capture.restart({ reason })` begins anew.',
    { status: 503, exit: 3 },
  ),
  PABAL_CAPTURE_STOPPED: entry(
    'The translator failed on a transaction, and no later one may overtake it.',
    'Correct the translator: the transaction is tried again by itself. Or leave it out with `capture.skip(lsn, { reason })`.',
    { retryable: true },
  ),
  PABAL_TRANSPORT_UNREACHABLE: entry(
    'The broker of a transport cannot be reached, or lets nobody in.',
    'Check what the detail names: that the broker runs, its host and port, TLS, and the credentials. Nothing is lost meanwhile: what was not published waits in the log.',
    busy,
  ),
  PABAL_TRANSPORT_INVALID: entry(
    'What a transport needs on its broker is missing, or is of another kind.',
    'Create or correct what the detail names, give this user the right to it, or let the transport create it (`provision`).',
  ),
  PABAL_BACKUP_TARGET_EXISTS: entry(
    'The target file exists already.',
    'Name a new file, or move the old one away.',
    usage,
  ),
  PABAL_RESTORE_IN_USE: entry(
    'The database is in use by another process.',
    'Stop the app that uses it, then restore.',
    { retryable: true, exit: 3, status: 409 },
  ),
  PABAL_CONFIG_INVALID: entry(
    'The configuration could not be loaded, or does not export an app.',
    'Export the app, or a function that returns it, as the default of `pabal.config.ts` (or name the file with --config).',
    usage,
  ),
  PABAL_COMMAND_TIMEOUT: entry(
    'A command did not end within its `--timeout`.',
    'Look with `pabal status` at what it has done (each step is whole or not done at all), or give it more time.',
    busy,
  ),
  PABAL_USAGE: entry('The command line is not understood.', 'See `pabal --help`.', usage),
  PABAL_CHECK_FAILED: entry('A check found a problem.', 'Read the findings; each says what to do.', { exit: 4 }),
}

const brand = Symbol.for('pabal.error')

/** Recognised by a symbol, so that two copies of the package agree; use `isPabalError`, not `instanceof`. */
export class PabalError extends Error {
  override readonly name: string = 'PabalError'
  readonly code: ErrorCode
  readonly remedy: string
  readonly retryable: boolean
  /** What a machine may want to read; never payloads. */
  readonly context: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, detail: string, options: { cause?: unknown; context?: Record<string, unknown> } = {}) {
    super(`${code}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause })
    const { remedy, retryable } = catalogue[code]
    this.code = code
    this.remedy = remedy
    this.retryable = retryable
    this.context = options.context ?? {}
    Object.defineProperty(this, brand, { value: true })
  }
}

export const isPabalError = (error: unknown): error is PabalError =>
  typeof error === 'object' && error !== null && brand in error

/** One line for people: the code, what happened, and what to do. */
export const describeError = (error: unknown): string => {
  if (isPabalError(error)) return `${error.message}\n  remedy: ${error.remedy}`
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}
