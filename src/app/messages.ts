/** Who is sent messages, checked before anything is opened: each has one handler, and a way to it that no other context shares. */

import type { Bound } from '../context/definition.ts'
import { isMessage, receiverOf, type SharedDefinition } from '../event/definition.ts'
import type { Carried } from '../exchange/exchange.ts'
import { type Composition, isDurable, nameOf, refuse, relayedIn, specsOf } from './composition.ts'

/** @throws PABAL_COMPOSITION_INVALID */
export const checkMessages = (composition: Composition): void => {
  for (const bound of composition.contexts) {
    checkHandlers(bound)
    checkSends(bound, composition.contexts)
  }
  for (const carried of composition.carried) checkCarried(composition, carried)
}

/** A process that is given none of a context's durable handlers leaves them to another one. */
const checkHandlers = (bound: Bound): void => {
  const context = nameOf(bound)
  const handlers = specsOf(bound).filter(isDurable)
  const handlerOf = new Map<string, string>()
  for (const { name, definitions } of handlers)
    for (const { type } of definitions.filter(isMessage)) {
      const other = handlerOf.get(type)
      if (other !== undefined)
        refuse(`'${context}' handles ${type} in '${other}' and in '${name}'; a message has one handler`)
      handlerOf.set(type, name)
    }
  if (handlers.length === 0) return
  for (const { type } of bound['~pabal'].context['~pabal'].messages)
    if (!handlerOf.has(type)) refuse(`'${context}' is sent ${type}, and none of its handlers takes it`)
}

const checkSends = (bound: Bound, contexts: readonly Bound[]): void => {
  for (const message of bound['~pabal'].context['~pabal'].sends) {
    const receiver = contexts.find((other) => nameOf(other) === receiverOf(message))
    const known = receiver?.['~pabal'].context['~pabal'].messages
    if (known !== undefined && !known.some(({ type }) => type === message.type))
      refuse(`'${nameOf(bound)}' sends ${message.type}, which is not among the messages of '${nameOf(receiver!)}'`)
  }
}

/** What goes over a transport, and whether it brings it to whoever it is for. */
const checkCarried = (composition: Composition, carried: Carried): void => {
  const { transport, from } = carried
  const { subscribers = 'many' } = transport.traits
  if (subscribers === 'many') return
  const channels: readonly (readonly [context: string, readonly SharedDefinition[]])[] = [
    ...composition.contexts.map(
      (bound) => [nameOf(bound), relayedIn(composition, bound, carried).map(({ to }) => to)] as const,
    ),
    ...Object.entries(from),
  ]
  for (const [context, definitions] of channels)
    if (subscribers === 'one') checkOne(context, definitions, carried)
    else checkNone(context, definitions, carried)
  if (subscribers === 'none' && Object.keys(from).length > 0)
    refuse(`nothing is received over ${transport.name}: it publishes to others`)
}

const checkOne = (context: string, definitions: readonly SharedDefinition[], { transport, stream }: Carried): void => {
  const event = definitions.find((definition) => !isMessage(definition))
  if (event !== undefined)
    refuse(
      `${event.type} of '${context}' cannot go over ${transport.name}: an event is published, not sent to a queue; give messages a route over it, and events another`,
    )
  const receivers = [...new Set(definitions.map(receiverOf))]
  if (receivers.length > 1)
    refuse(
      `the stream '${stream}' of '${context}' goes over ${transport.name} to one context, and has messages to '${receivers.join("' and '")}'; give each a route`,
    )
}

const checkNone = (context: string, definitions: readonly SharedDefinition[], { transport }: Carried): void => {
  const message = definitions.find(isMessage)
  if (message !== undefined)
    refuse(
      `${message.type} of '${context}' cannot go over ${transport.name}, which publishes to others: it is sent to '${receiverOf(message)}'; give it a route over another`,
    )
}
