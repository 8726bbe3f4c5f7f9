/** What an arm's process does for the bench: everything that runs the arm's code. */

import { setTimeout } from 'node:timers/promises'
import type { Appender, Arm } from './arm.ts'
import { type AppendSpec, appendTurn } from './append-turn.ts'
import { type DrainSpec, drainTurn } from './drain-turn.ts'
import { newOrder, nextNumbers } from './orders.ts'
import { type Sample, type SampleSpec, sampleOf } from './sample.ts'
import type { Turn } from './turn.ts'

export interface Description {
  readonly name: string
  readonly note: string | undefined
  readonly one: boolean
  readonly hundred: boolean
  readonly drain: boolean
  readonly consume: boolean
}

/** One measured slice of work, by the clocks of the arm's process. */
export interface Ran {
  readonly units: number
  readonly wallMs: number
  readonly cpuUs: number
}

/** By `process.hrtime`: the machine's monotonic clock, which is one for all processes. */
export type At = readonly [number: number, nanoseconds: string]

export interface Published {
  /** When COMMIT had returned. */
  readonly committedAt: readonly At[]
  /** How long the transactions took, in milliseconds. */
  readonly transactions: readonly number[]
}

export interface PublishSpec {
  readonly perSecond: number
  readonly seconds: number
}

export type TurnSpec = ({ readonly what: 'append' } & AppendSpec) | ({ readonly what: 'drain' } & DrainSpec)

export class Jobs {
  readonly #arm: Arm
  readonly #turns = new Map<string, Turn>()
  readonly #handledAt: At[] = []
  #consuming: AsyncDisposable | undefined

  constructor(arm: Arm) {
    this.#arm = arm
  }

  async setUp(url: string): Promise<Description> {
    const arm = this.#arm
    await arm.setUp(url)
    const appender = await arm.append?.(url, { connections: 1 })
    await appender?.[Symbol.asyncDispose]()
    return {
      name: arm.name,
      note: arm.note,
      one: appender?.one !== undefined,
      hundred: appender?.hundred !== undefined,
      drain: arm.drain !== undefined,
      consume: arm.consume !== undefined,
    }
  }

  async setUpAlso(url: string): Promise<void> {
    await this.#arm.setUp(url)
  }

  async fill(url: string, events: number): Promise<void> {
    await this.#arm.fill!(url, events)
  }

  /** Not measured. A turn keeps what it knows from round to round under its id. */
  async prepare(id: string, spec: TurnSpec): Promise<void> {
    let turn = this.#turns.get(id)
    if (turn === undefined) {
      turn = spec.what === 'append' ? appendTurn(this.#arm, spec) : drainTurn(this.#arm, spec)
      this.#turns.set(id, turn)
    }
    await turn.prepare()
    // A turn pays for its own garbage, not for that of its preparation.
    globalThis.gc?.({ type: 'minor' })
  }

  async run(id: string): Promise<Ran> {
    const turn = this.#turns.get(id)!
    const cpu = process.cpuUsage()
    const startMs = performance.now()
    const { units, wallMs = performance.now() - startMs } = await turn.run()
    const { user, system } = process.cpuUsage(cpu)
    return { units, wallMs, cpuUs: user + system }
  }

  /** Not measured. How many units there were with those of `prepare`, where that is known. */
  async after(id: string): Promise<number | undefined> {
    return this.#turns.get(id)!.after()
  }

  async consume(url: string, topics: number): Promise<void> {
    this.#consuming = await this.#arm.consume!(url, {
      topics,
      handle: (number) => this.#handledAt.push([number, String(process.hrtime.bigint())]),
    })
  }

  async stopConsuming(): Promise<readonly At[]> {
    await this.#consuming?.[Symbol.asyncDispose]()
    this.#consuming = undefined
    return this.#handledAt.splice(0)
  }

  async handled(): Promise<number> {
    return this.#handledAt.length
  }

  /** At a steady rate; what the first second publishes warms up, and is not told. */
  async publish(url: string, { perSecond, seconds }: PublishSpec): Promise<Published> {
    const committedAt: At[] = []
    const transactions: number[] = []
    const events = perSecond * (seconds + 1)
    const first = nextNumbers(events)
    await using appender: Appender = await this.#arm.append!(url, { connections: 16 })
    const publish = async (number: number): Promise<void> => {
      const beganMs = performance.now()
      await appender.one!(newOrder(number))
      const at = process.hrtime.bigint()
      if (number < first + perSecond) return
      committedAt.push([number, String(at)])
      transactions.push(performance.now() - beganMs)
    }
    const pending: Promise<void>[] = []
    const startMs = performance.now()
    for (let i = 0; i < events; i++) {
      const waitMs = startMs + (i * 1_000) / perSecond - performance.now()
      if (waitMs > 0) await setTimeout(waitMs)
      pending.push(publish(first + i))
    }
    await Promise.all(pending)
    await appender.settled?.()
    return { committedAt, transactions }
  }

  async sample(url: string, spec: SampleSpec): Promise<Sample> {
    return sampleOf(this.#arm, url, spec)
  }
}

export type JobName = {
  [Name in keyof Jobs]: Jobs[Name] extends (...given: never[]) => Promise<unknown> ? Name : never
}[keyof Jobs]
