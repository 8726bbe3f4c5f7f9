/** The arms that take part in a part of the run, each in a process and on a database of its own. */

import { ArmProcess } from './arm-process.ts'
import type { ArmName } from './arms.ts'
import type { Description } from './jobs.ts'
import type { Server } from './server.ts'

export interface Entry extends Description {
  readonly key: ArmName
  readonly url: string
  readonly process: ArmProcess
}

export interface FieldOptions {
  readonly server: Server
  /** Of the names, those that the command line asks for. */
  readonly only: readonly string[] | undefined
  readonly part: string
  /** What the others are compared with, and so always there; the one by hand unless given. */
  readonly base?: ArmName
}

/** Disposing ends the processes and drops the databases. */
export class Field implements AsyncDisposable {
  readonly #server: Server
  readonly #base: ArmName
  readonly #entered: Entry[] = []
  readonly #missing: string[] = []
  readonly #failed = new Set<ArmName>()

  private constructor(server: Server, base: ArmName) {
    this.#server = server
    this.#base = base
  }

  static async of(names: readonly ArmName[], { server, only, part, base = 'byHand' }: FieldOptions): Promise<Field> {
    const field = new Field(server, base)
    for (const key of names) if (only === undefined || key === base || only.includes(key)) await field.#enter(key, part)
    return field
  }

  async #enter(key: ArmName, part: string): Promise<void> {
    const process = new ArmProcess(key)
    const url = await this.#server.database(`${part}_${key}`)
    try {
      this.#entered.push({ key, url, process, ...(await process.do('setUp', url)) })
    } catch (error) {
      this.#missing.push(`${key} cannot run here: ${reasonOf(error)}`)
      await process[Symbol.asyncDispose]()
      await this.#server.drop(url)
    }
  }

  /** Those that have not broken down. */
  get entries(): readonly Entry[] {
    return this.#entered.filter(({ key }) => !this.#failed.has(key))
  }

  /** One that breaks down takes no more part, and leaves the others theirs. The base may not. */
  broke(key: ArmName, error: unknown): void {
    if (key === this.#base) throw error
    this.#failed.add(key)
    void this.#entered.find((entry) => entry.key === key)?.process[Symbol.asyncDispose]()
    this.#missing.push(`${key} broke down: ${reasonOf(error)}`)
  }

  /** What the arms say of themselves, and why some are not there. */
  get notes(): readonly string[] {
    return [
      ...this.entries.flatMap(({ name, note }) => (note === undefined ? [] : [`${name}: ${note}`])),
      ...this.#missing,
    ]
  }

  get missing(): readonly string[] {
    return this.#missing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process } of this.#entered) await process[Symbol.asyncDispose]()
    for (const { url } of this.#entered) await this.#server.drop(url)
  }
}

const reasonOf = (error: unknown): string => String(error).split('\n')[0]!
