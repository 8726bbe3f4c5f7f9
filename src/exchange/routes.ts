/** Several exchanges at once: which public events and messages go over which of them. */

import { PabalError } from '../core/errors.ts'
import type { SharedDefinition } from '../event/definition.ts'
import { type Carried, type Exchange, publicStream } from './exchange.ts'
import { relayName } from './relay.ts'

/** Public events or messages that travel apart from the others, in an order of their own. */
export interface Route {
  /**
   * Its name: lower case, digits, '_', at most 40 characters, and not 'public'. It is part of each receiver's place in the stream
   * and of names on the broker, so it never changes.
   */
  readonly stream: string
  /** All of its events and messages, whoever publishes or sends them. No other route has one of them. */
  readonly events: readonly SharedDefinition[]
  /** Several: the stream goes out over each, and what a receiver gets from two of them it applies once. */
  readonly over: Exchange | readonly Exchange[]
}

const streamName = /^[a-z][a-z0-9_]{0,39}$/

const refuse = (detail: string): never => {
  throw new PabalError('PABAL_COMPOSITION_INVALID', detail)
}

/**
 * Several exchanges at once. Events of a route travel over its exchanges alone; all others over those that are given as they are,
 * over each of them where there are several: so a broker is replaced by another without a loss or a stop.
 *
 * ```ts
 * exchange: routes(kafka({ … }), { stream: 'notices', events: [OrderShippedV1], over: snsSqs({ … }) })
 * ```
 *
 * Producers and consumers are given the same routes. Order per key holds within a stream, not between two.
 * @throws PABAL_COMPOSITION_INVALID
 */
export const routes = (...parts: readonly (Exchange | Route)[]): Exchange => {
  const given = parts.filter((part): part is Exchange => '~pabal' in part)
  const apart = parts.filter((part): part is Route => !('~pabal' in part))
  const streamOf = new Map<string, string>()
  for (const { stream, events } of apart) {
    if (!streamName.test(stream) || stream === publicStream)
      refuse(
        `${JSON.stringify(stream)} is not a stream's name: lower case, digits, '_', at most 40 characters, and not '${publicStream}'`,
      )
    for (const { type } of events) {
      const other = streamOf.get(type)
      if (other !== undefined) refuse(`${type} is in two routes, '${other}' and '${stream}'`)
      streamOf.set(type, stream)
    }
  }
  if (new Set(apart.map(({ stream }) => stream)).size < apart.length) refuse('two routes have the same stream')
  const streamFor = (type: string): string => streamOf.get(type) ?? publicStream
  const inStream = (stream: string, exchanges: readonly Exchange[]): Carried[] =>
    exchanges.flatMap(({ '~pabal': { carried } }) =>
      carried.map((each) => ({ ...each, stream, carries: (type: string) => streamFor(type) === stream })),
    )
  for (const { stream, over } of apart)
    for (const exchange of [over].flat())
      if (exchange['~pabal'].carried.length === 0)
        refuse(`the route '${stream}' goes over ${exchange['~pabal'].kind}, which carries nothing: name a transport`)
  const carried = [
    ...inStream(publicStream, given),
    ...apart.flatMap(({ stream, over }) => inStream(stream, [over].flat())),
  ]
  checkNames(carried)
  return {
    '~pabal': {
      kind: 'routes',
      producers: given.flatMap((exchange) => exchange['~pabal'].producers),
      carried,
    },
  }
}

/** How far a transport has got with a stream is remembered by the name of its relay. */
const checkNames = (carried: readonly Carried[]): void => {
  const seen = new Set<string>()
  for (const { transport, stream } of carried) {
    const name = relayName(transport.name, stream)
    if (seen.has(name)) refuse(`two relays would be called '${name}'; give one of the exchanges another \`name\``)
    seen.add(name)
  }
}
