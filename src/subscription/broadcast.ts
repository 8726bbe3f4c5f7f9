/**
 * An `every-instance` handler at work: each process reads the log on from where it ended when the process began, in memory. No
 * cursor is stored and nothing is tried again: it is for what a process keeps for itself, and could do without.
 */

import type { ImmediateSpec } from '../context/handler.ts'
import { outside } from '../context/scope.ts'
import type { EventRecord } from '../event/envelope.ts'
import type { EventSource } from './source.ts'

/** Events read at a time. */
const perRead = 500

export interface BroadcastOptions {
  readonly context: string
  readonly spec: ImmediateSpec
  readonly source: EventSource
  readonly warn: (what: string, error: unknown) => void
}

export class Broadcast {
  readonly #options: BroadcastOptions
  #position = 0
  #rung = false
  #working: Promise<void> | undefined
  #silence: (() => void) | undefined

  constructor(options: BroadcastOptions) {
    this.#options = options
  }

  async run(): Promise<void> {
    if (this.#silence !== undefined) return
    const { source } = this.#options
    // Listens first: what is appended while the end is asked for rings.
    this.#silence = source.onAppend(() => this.#ring())
    this.#position = (await source.head()).position
    this.#ring()
  }

  async stop(): Promise<void> {
    this.#silence?.()
    this.#silence = undefined
    await this.#working
  }

  #ring(): void {
    this.#rung = true
    this.#working ??= outside(() => this.#work()).finally(() => (this.#working = undefined))
  }

  async #work(): Promise<void> {
    const { context, spec, source, warn } = this.#options
    while (this.#rung && this.#silence !== undefined) {
      this.#rung = false
      try {
        await this.#readOn(source)
      } catch (error) {
        warn(`'${spec.name}' of '${context}'`, error)
      }
    }
  }

  async #readOn(source: EventSource): Promise<void> {
    const { position: end } = await source.head()
    // The log was rewound: what a process knows of it is old either way.
    if (end < this.#position) this.#position = end
    while (this.#silence !== undefined) {
      const { events, through } = await source.readAfter({
        after: this.#position,
        lane: { lane: 0, lanes: 1 },
        limit: perRead,
      })
      for (const event of events) await this.#tell(event)
      if (through <= this.#position) return
      this.#position = through
    }
  }

  async #tell(event: EventRecord): Promise<void> {
    const { context, spec, warn } = this.#options
    try {
      // What could not be published is still the private payload.
      if (event.failure !== undefined) throw event.failure
      await (spec.handler as (event: EventRecord) => unknown)(event)
    } catch (error) {
      warn(`every-instance handler '${spec.name}' of '${context}'`, error)
    }
  }
}
