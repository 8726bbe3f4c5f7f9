/**
 * One receiving at work. Of the processes of a subscriber one reads at a time, so that order is kept between them: it takes what is
 * under way, then what is new, batch by batch, and each is acknowledged when it was taken. The others ask now and then whether it
 * is gone.
 */

import { backoffMs, type Environment } from '../../core/environment.ts'
import { isPabalError } from '../../core/errors.ts'
import type { Receiving, Take, Taken } from '../transport.ts'
import { incoming } from './entry.ts'
import { isUnreachable } from './failure.ts'
import type { Entry, Group, Refused } from './group.ts'
import type { SubscriberNames } from './names.ts'

/** Between two questions of a process that stands by. */
const standbyMs = 500
/** Of one wait for news; shorter where the lease is. */
const waitMs = 2_000
/** After a batch that was not taken, or an answer that did not come: doubles, until it is the most. */
const againFirstMs = 100
const againMaxMs = 5_000
/** Characters of a reason that stand beside a refused message. */
const reasonLength = 300

export interface ReaderParts {
  readonly group: Group
  readonly names: SubscriberNames
  readonly take: Take
  readonly leaseMs: number
  readonly keepMs: number
  readonly trimEveryMs: number
  readonly environment: Environment
  readonly warn: (what: string, error: unknown) => void
  /** Ends a wait for news. */
  readonly wake: () => void
}

/** A batch was not taken: its error is the subscriber's. */
class NotTaken extends Error {
  readonly reason: unknown

  constructor(reason: unknown) {
    super('not taken')
    this.reason = reason
  }
}

export class Reader implements Receiving {
  readonly #parts: ReaderParts
  readonly #ended = new AbortController()
  readonly #running: Promise<void>
  #hold: string | undefined
  #trimAt = 0

  constructor(parts: ReaderParts) {
    this.#parts = parts
    this.#running = this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort()
    this.#parts.wake()
    await this.#running
  }

  async #run(): Promise<void> {
    const { environment, group } = this.#parts
    let failures = 0
    while (!this.#ended.signal.aborted)
      try {
        if (this.#hold === undefined) await this.#takeOver()
        else await this.#turn(this.#hold)
        failures = 0
      } catch (error) {
        if (this.#ended.signal.aborted) {
          // Nor would it hear that the reader key is free.
          if (isUnreachable(error)) this.#hold = undefined
          break
        }
        this.#tell(error, ++failures)
        // Whatever has happened: the group is looked at again, and what is under way read from its beginning.
        const hold = this.#hold
        this.#hold = undefined
        if (error instanceof NotTaken && hold !== undefined) await group.release(hold).catch(() => {})
        await environment.sleep(backoffMs(failures, againFirstMs, againMaxMs, environment.random), this.#ended.signal)
      }
    if (this.#hold !== undefined) await group.release(this.#hold).catch(() => {})
  }

  #tell(error: unknown, failures: number): void {
    const { names, warn } = this.#parts
    if (error instanceof NotTaken) warn(`what came over '${names.group}' was not taken, and comes again`, error.reason)
    // Of a connection its owner tells.
    else if (failures === 1 && !isUnreachable(error)) warn(`receiving over '${names.group}'`, error)
  }

  /** By somebody else: here nothing is that is under way. */
  #tellDeleted(count: number): void {
    const { names, warn } = this.#parts
    warn(`receiving over '${names.group}'`, new Error(`${count} entries were deleted before they were taken`))
  }

  async #takeOver(): Promise<void> {
    const { group, environment } = this.#parts
    await group.ensure()
    const taken = await group.takeOver()
    if (taken === undefined) return environment.sleep(standbyMs, this.#ended.signal)
    this.#hold = taken.hold
    if (taken.gone > 0) this.#tellDeleted(taken.gone)
  }

  async #turn(hold: string): Promise<void> {
    const { group, leaseMs, environment } = this.#parts
    const askedAt = environment.now()
    const found = await group.read(hold)
    if (found === 'lost') {
      this.#hold = undefined
      return
    }
    // Another process may read by now, or will soon: what was brought here comes to it, or here again.
    if (environment.now() - askedAt >= leaseMs || this.#ended.signal.aborted) return
    const there = found.entries.filter(({ fields }) => fields !== undefined)
    if (found.entries.length > there.length) this.#tellDeleted(found.entries.length - there.length)
    if (found.entries.length === 0) await this.#rest(found.behind)
    else {
      const taken = there.length === 0 ? [] : await this.#holding(hold, () => this.#take(there))
      await this.#settle(hold, found.entries, there, taken)
    }
    await this.#trim()
  }

  async #rest(behind: string): Promise<void> {
    if (this.#ended.signal.aborted) return
    const ms = Math.min(waitMs, Math.ceil(this.#parts.leaseMs / 3))
    await this.#parts.group.wait(behind, ms).catch((error: unknown) => {
      // Woken by the end, over a connection of its own: the turn is still ours to give back.
      if (!this.#ended.signal.aborted) throw error
    })
  }

  async #take(entries: readonly Entry[]): Promise<readonly Taken[]> {
    try {
      return await this.#parts.take(entries.map(({ fields }) => incoming(fields!)))
    } catch (error) {
      throw new NotTaken(error)
    }
  }

  /** Runs it while the lease is prolonged. A lease that is lost all the same shows when it is settled. */
  async #holding<T>(hold: string, work: () => Promise<T>): Promise<T> {
    const { group, leaseMs, environment } = this.#parts
    const done = new AbortController()
    const beat = async (): Promise<void> => {
      for (let held = true; held; ) {
        await environment.sleep(leaseMs / 3, done.signal)
        if (done.signal.aborted) return
        held = await group.prolong(hold).catch(() => true)
      }
    }
    const beating = beat()
    try {
      return await work()
    } finally {
      done.abort()
      await beating
    }
  }

  async #settle(hold: string, all: readonly Entry[], there: readonly Entry[], taken: readonly Taken[]): Promise<void> {
    const { group, names, warn } = this.#parts
    const refused = there.flatMap(({ id }, index): (Refused & { readonly error: Error })[] => {
      const error = taken[index]?.refused
      return error === undefined ? [] : [{ id, error, reason: reasonOf(error) }]
    })
    const failed = await group.settle(
      hold,
      all.map(({ id }) => id),
      refused,
    )
    if (failed === undefined) {
      this.#hold = undefined
      return
    }
    for (const { id, error } of refused)
      warn(`'${names.group}' has refused entry ${id} of '${names.stream}', which is in '${names.refused}'`, error)
    if (failed > 0) warn(`'${names.refused}'`, new Error(`${failed} refused entries could not be copied to it`))
  }

  /** Nothing waits for it: what is not deleted now is later. */
  async #trim(): Promise<void> {
    const { group, keepMs, trimEveryMs, environment, names, warn } = this.#parts
    if (!Number.isFinite(keepMs) || environment.now() < this.#trimAt) return
    this.#trimAt = environment.now() + trimEveryMs
    try {
      await group.trim(keepMs)
    } catch (error) {
      if (!isUnreachable(error)) warn(`what all have taken of '${names.stream}' could not be deleted`, error)
    }
  }
}

/** Messages of pabal name attributes and rules, never payloads; of others nothing is known. */
const reasonOf = (error: Error): string => (isPabalError(error) ? error.message : error.name).slice(0, reasonLength)
