/** Producers that are no contexts of pabal: who sends CloudEvents, and which of them are taken. */

import { isContextName } from '../context/definition.ts'
import { PabalError } from '../core/errors.ts'
import { contextOf } from '../event/cloudevents/to-cloud-event.ts'
import type { PublicEventDefinition } from '../event/definition.ts'
import type { Transport } from './transport.ts'

/** A producer that sends CloudEvents, and has no log of ours. */
export interface ForeignProducer {
  /** The CloudEvents `source`s that are taken; an event of another one is refused. `'any'`: whatever comes over its channel. */
  readonly sources: readonly string[] | 'any'
  /**
   * Its events that are consumed here, as definitions of this side. A record where it calls them otherwise than we may:
   * `{ 'com.acme.erp.InvoiceIssued': InvoicedV1 }`. Other types are passed over.
   */
  readonly events: readonly PublicEventDefinition[] | Readonly<Record<string, PublicEventDefinition>>
  /**
   * What its topic, exchange or stream is called on the broker, exactly and without a prefix: `'erp.orders.v1'`. It is the
   * producer's: pabal reads it, and neither makes, changes nor removes it. Several producers may have one, with sources that tell
   * them apart. Default: the channel is pabal's, and named after the producer, as a context's is.
   */
  readonly channel?: string | undefined
}

export type ForeignProducers = Readonly<Record<string, ForeignProducer>>

const refuse = (detail: string): never => {
  throw new PabalError('PABAL_COMPOSITION_INVALID', detail)
}

/** By their names. @throws PABAL_COMPOSITION_INVALID */
export const foreignProducers = (
  given: ForeignProducers,
  transport: Pick<Transport, 'name' | 'faultInName'>,
): ReadonlyMap<string, ForeignProducer> => {
  for (const [name, { sources, channel }] of Object.entries(given)) {
    if (!isContextName(name))
      refuse(`a foreign producer is named like a context (lower case, digits, '_'), ${JSON.stringify(name)} is not`)
    if (channel !== undefined) checkChannel(name, channel, transport)
    if (sources === 'any') continue
    if (sources.length === 0) refuse(`the foreign producer '${name}' has no sources: name them, or say 'any'`)
    for (const source of sources)
      if (contextOf(source) !== undefined)
        refuse(`${source} is a context of pabal, which is no foreign producer: it belongs in \`from\``)
  }
  const producers = new Map(Object.entries(given))
  for (const [name, { sources, channel }] of producers)
    for (const [other, { sources: others }] of besides(producers, name))
      if (sources === 'any' || others === 'any' || sources.some((source) => others.includes(source)))
        refuse(
          `the foreign producers '${name}' and '${other}' have one channel, ${JSON.stringify(channel)}: each needs \`sources\` that the other has not`,
        )
  return producers
}

const checkChannel = (
  producer: string,
  channel: string,
  { name, faultInName }: Pick<Transport, 'name' | 'faultInName'>,
): void => {
  const fault = faultInName === undefined ? 'only channels that pabal names are read over it' : faultInName(channel)
  if (fault !== undefined)
    refuse(
      `over ${name} the channel of the foreign producer '${producer}' cannot be ${JSON.stringify(channel)}: ${fault}`,
    )
}

/** The others that have the same channel. */
const besides = (
  producers: ReadonlyMap<string, ForeignProducer>,
  name: string,
): readonly (readonly [string, ForeignProducer])[] => {
  const channel = producers.get(name)?.channel
  return [...producers].filter(([other, each]) => other !== name && channel !== undefined && each.channel === channel)
}

/** Sources that are others' on the producer's channel. */
export const sourcesBeside = (producers: ReadonlyMap<string, ForeignProducer>, name: string): readonly string[] =>
  besides(producers, name).flatMap(([, { sources }]) => sources)

/** Its events by the types that it sends. */
export const typesOf = ({ events }: ForeignProducer): readonly (readonly [string, PublicEventDefinition])[] =>
  isList(events) ? events.map((definition) => [definition.type, definition] as const) : Object.entries(events)

const isList = (events: ForeignProducer['events']): events is readonly PublicEventDefinition[] => Array.isArray(events)

/** Its events as they are called here. */
export const definitionsOf = (producer: ForeignProducer): readonly PublicEventDefinition[] => [
  ...new Set(typesOf(producer).map(([, definition]) => definition)),
]
