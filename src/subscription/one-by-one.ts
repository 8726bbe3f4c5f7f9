/**
 * Events of a batch one after the other in one transaction, each able to fail alone: handled, parked, or passed by policy. When
 * everything fails nothing more is parked and the cursor stays; one poison event among good ones costs its key only (P6).
 */

import type { Scope } from '../context/scope.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { Place } from '../store/store.ts'
import { Admissions } from './admission.ts'
import { probes } from './breaker.ts'
import { afterFailure, park } from './exhaustion.ts'
import type { Share, SubscriptionParts } from './lane.ts'

/** How far the cursor has come, and the error when everything must be held because everything fails. */
export interface BatchResult {
  readonly place: Place
  readonly handled: number
  readonly breaks: unknown
}

/** Undefined: it succeeded. 'unrun': it has not been run. */
export type Attempt = { readonly thrown: unknown } | 'unrun' | undefined

/** A failure that is not acted on yet: is it this key, or everything? */
interface Suspended {
  readonly event: EventRecord
  readonly thrown: unknown
  /** Later events of its key in this batch. */
  readonly behind: EventRecord[]
}

export class OneByOne {
  readonly #parts: SubscriptionParts
  readonly #share: Share
  readonly #scope: Scope
  readonly #admissions: Admissions
  readonly #suspended = new Map<string, Suspended>()

  private constructor(parts: SubscriptionParts, share: Share, scope: Scope, admissions: Admissions) {
    this.#parts = parts
    this.#share = share
    this.#scope = scope
    this.#admissions = admissions
  }

  /** In the transaction of `scope`, cursor included. `end` is the place behind the last of the events. */
  static async run(
    parts: SubscriptionParts,
    share: Share,
    scope: Scope,
    events: readonly EventRecord[],
    end: Place,
    attempt: (event: EventRecord, index: number) => Promise<Attempt>,
  ): Promise<BatchResult> {
    const admissions = await Admissions.open(parts, share, scope.session, events)
    return new OneByOne(parts, share, scope, admissions).#run(events, end, attempt)
  }

  async #run(
    events: readonly EventRecord[],
    end: Place,
    attempt: (event: EventRecord, index: number) => Promise<Attempt>,
  ): Promise<BatchResult> {
    let handled = 0
    for (const [index, event] of events.entries()) {
      const held = this.#suspended.get(event.key)
      if (held !== undefined) held.behind.push(event)
      else if (!(await this.#admit(event, () => attempt(event, index)))) break
      if (this.#suspended.size >= probes) break
      if (this.#suspended.size === 0) handled = index + 1
    }
    const last = events[handled - 1]
    const place =
      handled === events.length
        ? end
        : last === undefined
          ? this.#share.place
          : { position: last.position, eventId: last.id, incarnation: this.#share.incarnation }
    const stored = await this.#admissions.store(this.#scope.session, place.position)
    if (!stored) throw new Error('a key was unparked while its events were being passed over')
    await this.#share.move(this.#parts, this.#scope.session, place)
    const [held] = this.#suspended.values()
    return { place, handled, breaks: held?.thrown }
  }

  /** False: stop here. */
  async #admit(event: EventRecord, attempt: () => Promise<Attempt>): Promise<boolean> {
    const { breaker } = this.#parts
    const admission = await this.#admissions.admit(event)
    if (admission.kind === 'wait') this.#admissions.waits(event)
    else if (admission.kind === 'park') await this.#parkAt(event, admission.error, admission.from)
    else if (admission.kind === 'handle') {
      const outcome = await attempt()
      if (outcome === 'unrun') return this.#unrun(event)
      if (outcome === undefined) {
        breaker.succeeded()
        await this.#release()
        this.#admissions.passed(event)
      } else if (this.#parts.signal().aborted) return false
      else if (breaker.failed(event.key)) this.#suspended.set(event.key, { event, thrown: outcome.thrown, behind: [] })
      else await this.#fail(event, outcome.thrown)
    }
    return true
  }

  /**
   * An earlier event of its key failed and was left out by policy after this batch had begun. The key is taken up again from
   * here, on its own: what has been run behind it must not be run twice for its sake.
   */
  async #unrun(event: EventRecord): Promise<boolean> {
    if (this.#parts.stopping().aborted) return false
    await this.#parkAt(event, new Error('not run yet: an earlier event of its key was left out'), event.sequence)
    return true
  }

  /** Something succeeded, so it was not everything: those that failed are failures of their own keys. */
  async #release(): Promise<void> {
    for (const { event, thrown, behind } of this.#suspended.values()) {
      const outcome = await this.#fail(event, thrown)
      const [next, ...rest] = behind
      if (next === undefined) continue
      // Left out by policy, the key goes on; what came behind it meanwhile is handled from where it is parked.
      if (outcome === 'passed') await this.#parkAt(next, thrown, next.sequence)
      else this.#admissions.waits(next)
      for (const later of rest) this.#admissions.waits(later)
    }
    this.#suspended.clear()
  }

  async #fail(event: EventRecord, thrown: unknown): Promise<'parked' | 'passed'> {
    const outcome = await afterFailure(this.#parts, this.#share, this.#scope, event, { thrown, attempt: 1 })
    if (outcome === 'parked') this.#admissions.parked(event.key)
    else this.#admissions.passed(event)
    return outcome
  }

  /** Parks a key without a run of its handler; it is taken up at once, unless its history has diverged. */
  async #parkAt(event: EventRecord, thrown: unknown, from: number): Promise<void> {
    const dead = (thrown as { code?: unknown } | null)?.code === 'PABAL_KEY_DIVERGED'
    await park(this.#parts, this.#share, this.#scope, event, {
      thrown,
      attempt: 0,
      delayMs: dead ? undefined : 0,
      from,
    })
    this.#admissions.parked(event.key)
  }
}
