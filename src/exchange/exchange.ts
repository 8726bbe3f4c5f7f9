/** PORT: everything between contexts. How public events, and messages, travel from the contexts that they are of to those that take them. */

import type { Bound } from '../context/definition.ts'
import { PabalError } from '../core/errors.ts'
import type { SharedDefinition } from '../event/definition.ts'
import { definitionsOf, type ForeignProducer, type ForeignProducers, foreignProducers } from './foreign.ts'
import type { Channel, Transport } from './transport.ts'

export type { Bound }

export interface Exchange {
  readonly '~pabal': {
    readonly kind: string
    /** Contexts that run elsewhere, whose logs this process can read. */
    readonly producers: readonly Bound[]
    /** Over what the public events and messages of this process' contexts go out, and those of others come in. */
    readonly carried: readonly Carried[]
  }
}

/** What one transport carries. */
export interface Carried {
  readonly transport: Transport
  /** The stream that it carries, of each context. */
  readonly stream: string
  /** Whether a public event or message of this type is of that stream. */
  readonly carries: (type: string) => boolean
  /** Contexts that run elsewhere, and which of their public events and messages may come. */
  readonly from: Readonly<Record<string, readonly SharedDefinition[]>>
  /** Those among them that are no contexts of pabal. */
  readonly foreign: ReadonlyMap<string, ForeignProducer>
  /** Of those, the ones whose logs can be reached: what the transport has lost is read there. */
  readonly origins: readonly Bound[]
  /** False: a key begins with the first event of it that comes. */
  readonly fromFirst: boolean
}

/** The stream of a context's public events and messages, but for those that `routes` gives a stream of their own. Part of every place in it, so it never changes. */
export const publicStream = 'public'

/** What a stream of a context is called where it is not the only one: on brokers, and as a source of cursors. */
export const channelOf = (context: string, stream: string): Channel => ({
  context: stream === publicStream ? context : `${context}__${stream}`,
})

/** What is received of a context or a foreign producer over that transport. */
export const receivedChannel = ({ stream, foreign }: Carried, source: string): Channel => {
  const name = foreign.get(source)?.channel
  return { ...channelOf(source, stream), ...(name === undefined ? {} : { name }) }
}

export interface CarriedOptions {
  /**
   * What comes from contexts that run elsewhere: `{ ordering: [OrderPlacedV1, SendSms] }`. The name is the producing context's, by
   * which its channel is found; the events are those of its published language that are consumed here, the messages those that it
   * sends to a context here.
   */
  readonly from?: Carried['from'] | undefined
  /**
   * What comes from producers that are no contexts of pabal and send CloudEvents: `{ erp: { sources: ['urn:acme:erp'], events:
   * [InvoicedV1] } }`. The name is given here, stands for one producer for ever, and says what its channel is called, as a
   * context's does, unless `channel` says it. Each event, by its source and id, is handled once for as long as the own log keeps it, those of a key in the
   * order in which the transport brings them. Nobody notices what is missing.
   */
  readonly foreign?: ForeignProducers | undefined
  /**
   * `ordering.with({ store })` of such contexts, where their databases can be reached. A verifier reads along there, two seconds
   * behind, and enters what the transport has not brought; `settle` waits for it, and so does the producer's retention.
   */
  readonly origins?: readonly Bound[] | undefined
  /**
   * Where a context that receives for the first time begins. 'beginning' (default): with the first event of each key; one that
   * comes without those before it waits for them. 'now': with whatever comes first.
   */
  readonly startAt?: 'beginning' | 'now' | undefined
  /**
   * What the relay that writes here is called after: `relay-<name>`. It keeps its place under that name, so it never changes.
   * Default: the transport's. Needed where `routes` has two of a kind.
   */
  readonly name?: string | undefined
}

/** An exchange over any transport; adapters are called by their own names. @throws PABAL_COMPOSITION_INVALID */
export const over = (
  transport: Transport,
  { from = {}, foreign: given = {}, origins = [], startAt = 'beginning', name = transport.name }: CarriedOptions = {},
): Exchange => {
  const foreign = foreignProducers(given, transport)
  for (const producer of foreign.keys())
    if (Object.hasOwn(from, producer))
      throw new PabalError('PABAL_COMPOSITION_INVALID', `'${producer}' is a context in \`from\`, and foreign`)
  const events = [...foreign].map(([producer, each]) => [producer, definitionsOf(each)] as const)
  return {
    '~pabal': {
      kind: transport.name,
      producers: [],
      carried: [
        {
          transport: { ...transport, name },
          stream: publicStream,
          carries: () => true,
          from: { ...from, ...Object.fromEntries(events) },
          foreign,
          origins,
          fromFirst: startAt === 'beginning',
        },
      ],
    },
  }
}
