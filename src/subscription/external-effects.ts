/**
 * Handlers whose effects are outside of the database: many keys at once and no open transaction, at least once, with a stable
 * idempotency key. What they return is recorded in the transaction that moves the cursor, in the order of the log.
 */

import type { Scope } from '../context/scope.ts'
import { describeError, isPabalError, PabalError } from '../core/errors.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { Place } from '../store/store.ts'
import { type Admission, Admissions, runWith } from './admission.ts'
import { probes } from './breaker.ts'
import { isOfTheHandlers, parkSuspect, placeAt } from './database-effects.ts'
import { Fenced, inTurn, type Share, type SubscriptionParts } from './lane.ts'
import { type BatchResult, OneByOne } from './one-by-one.ts'

type Run = { readonly ok: true; readonly result: unknown } | { readonly ok: false; readonly thrown: unknown }
/** What is known of an event of the batch; `unrun`: an earlier one of its key has failed. */
type Settled = Run | 'unrun'

/** What a receiver may tell repetitions by: the same for every run of a handler on an event. */
export const idempotencyKeyOf = (context: string, consumer: string, eventId: string): string =>
  `${context}/${consumer}:${eventId}`

/** A handler that ignores its signal is left behind: its event runs again, with the same idempotency key. */
const inTime = async <R>(
  { spec, runtime }: SubscriptionParts,
  event: EventRecord,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<R>,
): Promise<R> => {
  const over = new AbortController()
  const ended = new AbortController()
  const tooLate = async (): Promise<never> => {
    await runtime.environment.sleep(spec.timeoutMs, AbortSignal.any([signal, ended.signal]))
    if (ended.signal.aborted) return new Promise<never>(() => {})
    const error = new PabalError(
      'PABAL_HANDLER_TIMEOUT',
      `'${spec.name}' ran for more than ${spec.timeoutMs} ms on ${event.type} ${event.id}`,
    )
    over.abort(error)
    throw error
  }
  try {
    return await Promise.race([run(AbortSignal.any([signal, over.signal])), tooLate()])
  } finally {
    ended.abort()
  }
}

/** One run of the handler, bounded in time. Never rejects. */
export const runExternal = async (
  parts: SubscriptionParts,
  share: Share,
  event: EventRecord,
  attempt: number,
  signal: AbortSignal,
): Promise<Run> => {
  const { spec, runtime } = parts
  if (spec.handleBatch !== undefined) return (await runBatch(parts, share, [event], signal))[0] as Run
  try {
    if (event.failure !== undefined) throw event.failure
    const idempotencyKey = idempotencyKeyOf(runtime.name, spec.name, event.id)
    const result = await inTime(parts, event, signal, async (bounded) =>
      spec.handler(event as never, { attempt, signal: bounded, idempotencyKey } as never),
    )
    return { ok: true, result }
  } catch (thrown) {
    return { ok: false, thrown }
  }
}

/** A handler of batches knows nothing of any event: that is no event's failure, and the whole is tried again. */
class NothingKnown extends Error {
  constructor(cause: unknown) {
    super(describeError(cause), { cause })
    this.name = 'NothingKnown'
  }
}

/**
 * The same for a handler of batches. Behind a failure of a key nothing of it counts as run.
 * @throws NothingKnown
 */
export const runBatch = async (
  parts: SubscriptionParts,
  share: Share,
  events: readonly EventRecord[],
  signal: AbortSignal,
): Promise<readonly Settled[]> => {
  const failed = new Set<string>()
  const fail = (event: EventRecord, thrown: unknown): Settled => {
    if (failed.has(event.key)) return 'unrun'
    failed.add(event.key)
    return { ok: false, thrown }
  }
  // What could not be published cannot be handed over, and holds up its key.
  const broken = new Set<string>()
  const sound = events.filter(({ key, failure }) => {
    if (failure !== undefined) broken.add(key)
    return !broken.has(key)
  })
  const { handleBatch } = parts.spec
  const outcomes = new Map<EventRecord, { readonly error: unknown } | undefined>()
  if (sound.length > 0) {
    const given = await inTime(parts, sound[0]!, signal, (bounded) =>
      handleBatch!(sound, { signal: bounded, incarnation: share.incarnation }),
    ).catch((error: unknown) => {
      if (isPabalError(error) && error.code === 'PABAL_HANDLER_TIMEOUT')
        parts.batchSize.shrinkTo(Math.floor(sound.length / 2))
      throw new NothingKnown(error)
    })
    parts.batchSize.done(sound.length)
    for (const [index, event] of sound.entries()) outcomes.set(event, given[index])
  }
  return events.map((event) => {
    const outcome = event.failure !== undefined ? { error: event.failure } : outcomes.get(event)
    if (outcome !== undefined) return fail(event, outcome.error)
    return failed.has(event.key) ? 'unrun' : { ok: true, result: undefined }
  })
}

/** Runs `fn` while the lease is renewed; `lost` aborts when another owner has the lane. */
export const renewing = async <R>(
  parts: SubscriptionParts,
  share: Share,
  lost: AbortController,
  fn: () => Promise<R>,
): Promise<R> => {
  const { runtime, leaseMs } = parts
  const ended = new AbortController()
  const beat = async (): Promise<void> => {
    for (;;) {
      await runtime.environment.sleep(leaseMs / 3, ended.signal)
      if (ended.signal.aborted) return
      try {
        await runtime.database.transaction((session) => share.hold(parts, session), { silentMs: leaseMs })
      } catch (error) {
        // A database that is busy now may be free at the next beat; should the lease run out, the epoch stops us.
        if (error instanceof Fenced) return lost.abort(error)
      }
    }
  }
  const beating = beat()
  try {
    return await fn()
  } finally {
    ended.abort()
    await beating
  }
}

/** In the transaction: what `record` does with a result, undone alone when it fails. */
export const recordResult = async (
  parts: SubscriptionParts,
  scope: Scope,
  event: EventRecord,
  attempt: number,
  result: unknown,
): Promise<{ readonly thrown: unknown } | undefined> => {
  const { record } = parts.spec
  if (record === undefined) return undefined
  try {
    await scope.savepoint(async () => {
      await runWith(parts, scope, event, attempt, (given) => record(result as never, event as never, given))
      await scope.flush()
    })
    return undefined
  } catch (thrown) {
    return { thrown }
  }
}

export const performBatch = async (
  parts: SubscriptionParts,
  share: Share,
  events: readonly EventRecord[],
  through: number,
): Promise<BatchResult> => {
  if (share.suspect) return parkSuspect(parts, share, events[0]!)
  const most = Math.min(events.length, parts.spec.handleBatch === undefined ? events.length : parts.batchSize.now)
  const batch = events.slice(0, share.alone ? 1 : parts.breaker.isOpen ? probes : most)
  const end = await placeAt(
    parts,
    share,
    batch.at(-1),
    batch.length === events.length ? through : batch.at(-1)!.position,
  )
  return new ExternalBatch(parts, share, batch, end).run()
}

class ExternalBatch {
  readonly #parts: SubscriptionParts
  readonly #share: Share
  readonly #events: readonly EventRecord[]
  readonly #end: Place
  readonly #settled: (Settled | undefined)[]
  readonly #abort = new AbortController()
  #advanced: (() => void) | undefined
  #broken: { readonly error: unknown } | undefined

  constructor(parts: SubscriptionParts, share: Share, events: readonly EventRecord[], end: Place) {
    this.#parts = parts
    this.#share = share
    this.#events = events
    this.#end = end
    this.#settled = events.map(() => undefined)
  }

  async run(): Promise<BatchResult> {
    const { runtime } = this.#parts
    const admissions = await runtime.database.read(async (session) => {
      const open = await Admissions.open(this.#parts, this.#share, session, this.#events, { lock: false })
      const found: Admission[] = []
      for (const event of this.#events) {
        const admission = await open.admit(event)
        // Optimistic: whether it will have passed is not known yet, but what follows is judged as if.
        if (admission.kind === 'handle') open.passed(event)
        else if (admission.kind === 'park') open.parked(event.key)
        found.push(admission)
      }
      return found
    })
    const running = this.#start(admissions)
    try {
      return await renewing(this.#parts, this.#share, this.#abort, () => this.#commitInOrder())
    } finally {
      this.#abort.abort()
      await running
    }
  }

  /** Keys side by side, the events of one key one after the other. */
  async #start(admissions: readonly Admission[]): Promise<void> {
    const chains = new Map<string, number[]>()
    for (const [index, admission] of admissions.entries()) {
      if (admission.kind !== 'handle') {
        this.#settled[index] = 'unrun'
        continue
      }
      const { key } = this.#events[index]!
      const chain = chains.get(key)
      if (chain === undefined) chains.set(key, [index])
      else chain.push(index)
    }
    if (this.#parts.spec.handleBatch !== undefined)
      return this.#runAll([...chains.values()].flat().toSorted((a, b) => a - b))
    const queue = [...chains.values()]
    const worker = async (): Promise<void> => {
      for (let chain = queue.shift(); chain !== undefined; chain = queue.shift()) await this.#runChain(chain)
    }
    await Promise.all(Array.from({ length: Math.min(this.#parts.spec.concurrency, queue.length) }, worker))
  }

  async #runAll(indexes: readonly number[]): Promise<void> {
    const signal = AbortSignal.any([this.#parts.signal(), this.#abort.signal])
    const events = indexes.map((index) => this.#events[index]!)
    const settled = await runBatch(this.#parts, this.#share, events, signal).catch((error: unknown) => {
      this.#broken = { error }
    })
    if (settled === undefined) return this.#advanced?.()
    for (const [n, index] of indexes.entries()) {
      const outcome = settled[n]!
      this.#settled[index] = outcome !== 'unrun' && !outcome.ok && signal.aborted ? 'unrun' : outcome
    }
    this.#advanced?.()
  }

  async #runChain(chain: readonly number[]): Promise<void> {
    const stopping = this.#parts.stopping()
    const signal = AbortSignal.any([this.#parts.signal(), this.#abort.signal])
    let failed = false
    for (const index of chain) {
      if (failed || stopping.aborted || signal.aborted) this.#settled[index] = 'unrun'
      else {
        const run = await runExternal(this.#parts, this.#share, this.#events[index]!, 1, signal)
        failed = !run.ok
        // What fails because we stop has not failed: it runs again under the next owner.
        this.#settled[index] = failed && signal.aborted ? 'unrun' : run
      }
      this.#advanced?.()
    }
  }

  /** Resolves when the outcome of an event is known. */
  async #known(index: number): Promise<void> {
    while (this.#settled[index] === undefined) {
      if (this.#broken !== undefined) throw this.#broken.error
      await new Promise<void>((resolve) => {
        this.#advanced = resolve
      })
    }
  }

  async #commitInOrder(): Promise<BatchResult> {
    const stopping = this.#parts.stopping()
    let done = 0
    while (done < this.#events.length) {
      await this.#known(done)
      if (this.#abort.signal.aborted) throw new Fenced(this.#share.lanes)
      let to = done
      while (to < this.#events.length && this.#settled[to] !== undefined) to++
      const { handled, breaks } = await this.#commitSafely(done, to)
      done += handled
      // Only failures so far, and more to come that may tell whether it is everything: wait for it.
      if (breaks !== undefined && to < this.#events.length && !stopping.aborted) {
        await this.#known(to)
        continue
      }
      if (breaks !== undefined || handled === 0 || (stopping.aborted && this.#settled[done] === 'unrun')) {
        return { place: this.#share.place, handled: done, breaks }
      }
    }
    return { place: this.#end, handled: done, breaks: undefined }
  }

  /** What fails at COMMIT is found by committing one event at a time; then it is the failure of that event. */
  async #commitSafely(from: number, to: number): Promise<BatchResult> {
    try {
      return await this.#commit(from, to)
    } catch (thrown) {
      if (!isOfTheHandlers(this.#parts, thrown)) throw thrown
      if (to - from > 1) return this.#commitSafely(from, from + 1)
      this.#settled[from] = { ok: false, thrown }
      return this.#commit(from, to)
    }
  }

  /** One transaction: outcomes recorded, failures parked, cursor moved over this part of the batch. */
  async #commit(from: number, to: number): Promise<BatchResult> {
    const parts = this.#parts
    const share = this.#share
    const part = this.#events.slice(from, to)
    const last = part.at(-1)!
    const end =
      to === this.#events.length
        ? this.#end
        : { position: last.position, eventId: last.id, incarnation: share.incarnation }
    const result = await inTurn(parts, (scope) =>
      OneByOne.run(parts, share, scope, part, end, async (event, index) => {
        const settled = this.#settled[from + index]!
        if (settled === 'unrun') return 'unrun'
        return settled.ok ? recordResult(parts, scope, event, 1, settled.result) : settled
      }),
    )
    share.moved(parts, result.place, result.handled)
    return result
  }
}
