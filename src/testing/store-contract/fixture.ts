/** What the rules of a store need of an adapter, and the small things that all of them use. */

import { systemEnvironment } from '../../core/environment.ts'
import { defineEvent, type EventDefinition } from '../../event/definition.ts'
import { EventRecord } from '../../event/envelope.ts'
import type { JsonSchema } from '../../event/schema.ts'
import type { Awaitable } from '../../core/awaitable.ts'
import type { ContextStore, Database, Session } from '../../store/store.ts'
import type { ContractTest, Guarantee } from '../contract.ts'

/** What an adapter gives to the suite. */
export interface StoreHarness {
  /** An empty database that no other test uses; disposed of at the test's end, with all its handles. */
  create(): Promise<StoreUnderTest>
}

export interface StoreUnderTest extends AsyncDisposable {
  /** A new handle on the database, as each process has one of its own. The first call creates the database. */
  open(): Promise<Database>
}

/** One rule of the store port. */
export type StoreRule = ContractTest<StoreHarness>

/** One process at work: its handle, and the context 'ordering' in it. */
export interface Process extends ContextStore {
  readonly database: Database
  readonly write: <R>(fn: (session: Session) => Awaitable<R>) => Promise<R>
  readonly read: <R>(fn: (session: Session) => Awaitable<R>) => Promise<R>
}

export const processOn = async (database: Database, context = 'ordering'): Promise<Process> => ({
  ...(await database.context(context)),
  database,
  write: (fn) => database.transaction(fn),
  read: async (fn) => {
    // What was committed is to be found, also where positions come after the commit.
    await database.sequence()
    return database.read(fn)
  },
})

/** A rule about one process; `another` starts more of them on the same database. */
export const rule = (
  name: string,
  run: (process: Process, another: () => Promise<Process>) => Promise<void>,
  guarantee?: Guarantee,
): StoreRule => ({
  name,
  ...(guarantee === undefined ? {} : { guarantee }),
  run: async (harness) => {
    await using store = await harness.create()
    await run(await processOn(await store.open()), async () => processOn(await store.open()))
  },
})

const anyJson: JsonSchema = {
  '~standard': { version: 1, vendor: 'pabal', validate: (value) => ({ value: value as never }) },
}

const definitions = new Map<string, EventDefinition>()
const definitionOf = (type: string, version: number): EventDefinition => {
  const name = `${type} ${version}`
  let definition = definitions.get(name)
  if (definition === undefined) {
    const upcast = Object.fromEntries(Array.from({ length: version - 1 }, (_, n) => [n + 1, (data: never) => data]))
    definition = defineEvent(type, { schema: anyJson, key: () => 'unused', version, upcast })
    definitions.set(name, definition)
  }
  return definition
}

export const placed = 'ordering.order-placed'
export const paid = 'ordering.order-paid'
export const cancelled = 'ordering.order-cancelled'

export interface EventFields {
  readonly id?: string
  readonly key?: string
  readonly type?: string
  readonly version?: number
  readonly text?: string
  readonly metadataText?: string | null
  readonly correlationId?: string
  readonly causationId?: string
  readonly hopCount?: number
  readonly traceparent?: string
  readonly timeMs?: number
  readonly expectedSequence?: number
}

/** An event as a unit of work would append it. */
export const raised = (fields: EventFields = {}): EventRecord => {
  const { type = placed, version = 1 } = fields
  const id = fields.id ?? systemEnvironment.id()
  const record = new EventRecord(definitionOf(type, version), 'ordering', {
    id,
    key: fields.key ?? 'order-1',
    version,
    text: fields.text ?? '{}',
    timeMs: fields.timeMs ?? systemEnvironment.now(),
    correlationId: fields.correlationId ?? id,
    causationId: fields.causationId,
    hopCount: fields.hopCount ?? 0,
    traceparent: fields.traceparent,
    metadataText: fields.metadataText ?? null,
  })
  record.expectedSequence = fields.expectedSequence
  return record
}

/** Appends in one transaction, and waits until the events have their positions, which a store may give after the commit. */
export const append = async (process: Process, ...events: EventRecord[]): Promise<EventRecord[]> => {
  await process.write((session) => process.log.append(session, events))
  for (const event of events)
    if (event.position === 0)
      event.position = (await process.read((session) => process.log.byId(session, event.id)))!.position
  return events
}

/** Rows as plain values: adapters differ in the prototypes and the extra fields of theirs. */
export const pick = <T extends object, K extends keyof T>(row: T | undefined, ...names: K[]): Pick<T, K> | undefined =>
  row === undefined ? undefined : (Object.fromEntries(names.map((name) => [name, row[name]])) as Pick<T, K>)

export const ids = (events: readonly { readonly id: string }[]): string[] => events.map(({ id }) => id)

/** Asks again until the answer is there; a condition that does not come fails the test. */
export const eventually = async <T>(ask: () => Promise<T | undefined>, withinMs = 10_000): Promise<T> => {
  const startMs = systemEnvironment.now()
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (systemEnvironment.now() - startMs > withinMs)
      throw new Error(`the condition has not come within ${withinMs} ms`)
    await systemEnvironment.sleep(5)
  }
}

/** A promise that the test resolves: what it decides happens, and nothing happens by the clock. */
export const signal = <T = void>(): PromiseWithResolvers<T> => Promise.withResolvers<T>()

/** What a transaction throws to roll back. */
export class Undo extends Error {}

export const undone = async (work: Promise<unknown>): Promise<void> => {
  try {
    await work
  } catch (error) {
    if (error instanceof Undo) return
    throw error
  }
  throw new Error('the transaction committed although its function threw')
}
