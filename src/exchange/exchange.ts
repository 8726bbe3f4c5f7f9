/** PORT: everything between contexts. How public events travel from the contexts that publish them to those that consume them. */

import type { Bound } from '../context/definition.ts'

export type { Bound }

export interface Exchange {
  readonly '~pabal': {
    readonly kind: string
    /** Contexts that run elsewhere, whose logs this process can read. */
    readonly producers: readonly Bound[]
  }
}
