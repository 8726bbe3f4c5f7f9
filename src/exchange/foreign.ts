/** Producers that are no contexts of pabal: who sends CloudEvents, and which of them are taken. */

import { isContextName } from '../context/definition.ts'
import { PabalError } from '../core/errors.ts'
import { contextOf } from '../event/cloudevents/to-cloud-event.ts'
import type { PublicEventDefinition } from '../event/definition.ts'

/** A producer that sends CloudEvents, and has no log of ours. */
export interface ForeignProducer {
  /** The CloudEvents `source`s that are taken; an event of another one is refused. `'any'`: whatever comes over its channel. */
  readonly sources: readonly string[] | 'any'
  /**
   * Its events that are consumed here, as definitions of this side. A record where it calls them otherwise than we may:
   * `{ 'com.acme.erp.InvoiceIssued': InvoicedV1 }`. Other types are passed over.
   */
  readonly events: readonly PublicEventDefinition[] | Readonly<Record<string, PublicEventDefinition>>
}

export type ForeignProducers = Readonly<Record<string, ForeignProducer>>

const refuse = (detail: string): never => {
  throw new PabalError('PABAL_COMPOSITION_INVALID', detail)
}

/** By the names of their channels. @throws PABAL_COMPOSITION_INVALID */
export const foreignProducers = (given: ForeignProducers): ReadonlyMap<string, ForeignProducer> => {
  for (const [name, { sources }] of Object.entries(given)) {
    if (!isContextName(name))
      refuse(`a foreign producer is named like a context (lower case, digits, '_'), ${JSON.stringify(name)} is not`)
    if (sources === 'any') continue
    if (sources.length === 0) refuse(`the foreign producer '${name}' has no sources: name them, or say 'any'`)
    for (const source of sources)
      if (contextOf(source) !== undefined)
        refuse(`${source} is a context of pabal, which is no foreign producer: it belongs in \`from\``)
  }
  return new Map(Object.entries(given))
}

/** Its events by the types that it sends. */
export const typesOf = ({ events }: ForeignProducer): readonly (readonly [string, PublicEventDefinition])[] =>
  isList(events) ? events.map((definition) => [definition.type, definition] as const) : Object.entries(events)

const isList = (events: ForeignProducer['events']): events is readonly PublicEventDefinition[] => Array.isArray(events)

/** Its events as they are called here. */
export const definitionsOf = (producer: ForeignProducer): readonly PublicEventDefinition[] => [
  ...new Set(typesOf(producer).map(([, definition]) => definition)),
]
