/** What goes over transports: a relay for each context and stream, a receiver for each place, a verifier where the origin can be read. */

import type { Bound } from '../context/definition.ts'
import type { ContextRuntime } from '../context/runtime.ts'
import type { Publication } from '../event/publication.ts'
import { checkCarriable } from '../exchange/carriable.ts'
import { Carrier, type Reception } from '../exchange/carrier.ts'
import type { Carried } from '../exchange/exchange.ts'
import { sourcesBeside } from '../exchange/foreign.ts'
import { ForeignReceiver } from '../exchange/foreign-receiver.ts'
import { PublishedLog } from '../exchange/published-log.ts'
import { Receiver } from '../exchange/receiver.ts'
import { relaySpec } from '../exchange/relay.ts'
import { verifierSpec } from '../exchange/verifier.ts'
import type { Bell } from '../subscription/source.ts'
import { Subscription, type SubscriptionOptions } from '../subscription/subscription.ts'
import {
  channelFor,
  type Composition,
  isCommand,
  nameOf,
  publishedIn,
  relayedIn,
  selectionOf,
  specsOf,
} from './composition.ts'
import type { OpenLog, OpenOptions } from './opened.ts'

interface Parts {
  readonly composition: Composition
  readonly runtimes: ReadonlyMap<string, ContextRuntime>
  readonly logs: ReadonlyMap<string, OpenLog>
  readonly progress: Bell
  readonly options: OpenOptions
}

interface Between {
  readonly carriers: readonly Carrier[]
  /** Relays and verifiers. */
  readonly subscriptions: readonly Subscription[]
}

export const carry = (parts: Parts): Between => {
  const { composition, runtimes, options } = parts
  const { environment, limits, warn } = options
  const receptions = receptionsOf(composition, runtimes)
  const carriers: Carrier[] = []
  const subscriptions: Subscription[] = []
  for (const carried of composition.carried) {
    const { stream, from } = carried
    const own = receptions.filter((reception) => reception.stream === stream && reception.source in from)
    const carrier = new Carrier({ carried, receptions: own, environment, limits, warn })
    carriers.push(carrier)
    for (const bound of composition.contexts) {
      subscriptions.push(...relayOf(bound, carried, carrier, parts))
      refuseTooLarge(bound, carried, parts)
    }
  }
  for (const reception of receptions) subscriptions.push(...verifierOf(reception, parts))
  return { carriers, subscriptions }
}

/** What a context publishes in the stream that a transport carries goes out over it. */
const relayOf = (bound: Bound, carried: Carried, { opened }: Carrier, parts: Parts): readonly Subscription[] => {
  const context = nameOf(bound)
  const { transport, stream } = carried
  const publications = relayedIn(parts.composition, bound, carried)
  if (publications.length === 0) return []
  const channel = channelFor(parts.composition, bound, carried)
  const spec = relaySpec({ channel, transport: transport.name, stream, publications, opened })
  const source = logOf(context, publications, 'relay', parts)
  return [new Subscription({ ...shared(parts), spec, source, runtime: parts.runtimes.get(context)! })]
}

/** What a context publishes there is measured when it is raised. */
const refuseTooLarge = (bound: Bound, carried: Carried, { composition, runtimes }: Parts): void => {
  const { beforeCommit, limits } = runtimes.get(nameOf(bound))!
  for (const publication of relayedIn(composition, bound, carried)) {
    const { type } = publication.from
    const check = checkCarriable({ ...carried, publication, limits })
    beforeCommit.set(type, [...(beforeCommit.get(type) ?? []), check])
  }
}

/** Where the producer's log can be reached, what has not come is looked for there. */
const verifierOf = ({ runtime, source, stream, receiver }: Reception, parts: Parts): readonly Subscription[] => {
  const { composition, options } = parts
  if (receiver instanceof ForeignReceiver) return []
  for (const carried of composition.carried) {
    const origin = carried.origins.find((bound) => nameOf(bound) === source)
    if (origin === undefined || carried.stream !== stream) continue
    const publications = publishedIn(origin, carried)
    const { environment } = options
    const spec = verifierSpec({ source, stream, publications, receiver, environment })
    const log = logOf(source, publications, 'verifier', parts)
    return [new Subscription({ ...shared(parts), spec, source: log, runtime })]
  }
  return []
}

/** What the contexts here receive: one place for each stream, whichever transports bring it. */
const receptionsOf = (
  { contexts, arrivals, carried }: Composition,
  runtimes: ReadonlyMap<string, ContextRuntime>,
): readonly Reception[] =>
  contexts.flatMap((bound) => {
    const runtime = runtimes.get(nameOf(bound))!
    const wanted = specsOf(bound).flatMap((spec) => (isCommand(spec) ? [] : (arrivals.get(spec) ?? [])))
    const places = new Map(wanted.map((each) => [`${each.source} ${each.stream}`, each]))
    return [...places.values()].map(({ source, stream }) => {
      const over = carried.filter((each) => each.stream === stream && source in each.from)
      const types = new Set(
        wanted
          .filter((each) => each.source === source && each.stream === stream)
          .flatMap(({ definitions }) => definitions.map(({ type }) => type)),
      )
      const producers = over.flatMap(({ foreign }) => foreign.get(source) ?? [])
      if (producers.length > 0) {
        const others = new Set(over.flatMap(({ foreign }) => sourcesBeside(foreign, source)))
        const receiver = new ForeignReceiver({ runtime, source, stream, producers, others, types })
        return { runtime, source, stream, receiver }
      }
      const definitions = over.flatMap(({ from }) => from[source]!.filter(({ type }) => types.has(type)))
      const fromFirst = over.every((each) => each.fromFirst)
      const receiver = new Receiver({ runtime, source, stream, definitions, fromFirst })
      return { runtime, source, stream, receiver, selection: selectionOf(bound, { source, stream }, arrivals) }
    })
  })

const logOf = (
  context: string,
  publications: readonly Publication[],
  reader: 'relay' | 'verifier',
  { logs, options: { limits } }: Parts,
): PublishedLog => new PublishedLog({ ...logs.get(context)!, publications, limits, reader })

const shared = ({
  progress,
  options: { leaseMs, breaker, warn },
}: Parts): Pick<SubscriptionOptions, 'progress' | 'warn' | 'leaseMs' | 'breaker'> => ({
  progress,
  warn,
  ...(leaseMs === undefined ? {} : { leaseMs }),
  ...(breaker === undefined ? {} : { breaker }),
})
