/** PORT: everything between contexts. How public events travel from the contexts that publish them to those that consume them. */

import type { Bound } from '../context/definition.ts'
import type { PublicEventDefinition } from '../event/definition.ts'
import type { Transport } from './transport.ts'

export type { Bound }

export interface Exchange {
  readonly '~pabal': {
    readonly kind: string
    /** Contexts that run elsewhere, whose logs this process can read. */
    readonly producers: readonly Bound[]
    /** Over what the public events of this process' contexts go out, and those of others come in. */
    readonly carried?: Carried
  }
}

export interface Carried {
  readonly transport: Transport
  /** Contexts that run elsewhere, and which of their public events may come. */
  readonly from: Readonly<Record<string, readonly PublicEventDefinition[]>>
  /** Of those, the ones whose logs can be reached: what the transport has lost is read there. */
  readonly origins: readonly Bound[]
  /** False: a key begins with the first event of it that comes. */
  readonly fromFirst: boolean
}

export interface CarriedOptions {
  /**
   * What comes from contexts that run elsewhere: `{ ordering: [OrderPlacedV1] }`. The name is the producing context's, by which
   * its channel is found; the events are those of its published language that are consumed here.
   */
  readonly from?: Carried['from']
  /** `ordering.with({ store })` of such contexts, where their databases can be reached. What a transport has lost is read there. */
  readonly origins?: readonly Bound[]
  /**
   * Where a context that receives for the first time begins. 'beginning' (default): with the first event of each key; one that
   * comes without those before it waits for them. 'now': with whatever comes first.
   */
  readonly startAt?: 'beginning' | 'now'
}

/** An exchange over any transport; adapters are called by their own names. */
export const over = (
  transport: Transport,
  { from = {}, origins = [], startAt = 'beginning' }: CarriedOptions = {},
): Exchange => ({
  '~pabal': {
    kind: transport.name,
    producers: [],
    carried: { transport, from, origins, fromFirst: startAt === 'beginning' },
  },
})
