/** A part of the run: what it is given, and that it answers with tables. */

import type { Server } from './server.ts'
import type { Table } from './tables.ts'

export interface PartOptions {
  readonly server: Server
  /** Names of arms; all unless given. */
  readonly only: readonly string[] | undefined
  /** A short form: whether it works, not how fast. */
  readonly quick: boolean
  readonly rounds: number
  readonly progress: (what: string) => void
}

export type Part = (options: PartOptions) => Promise<readonly Table[]>
