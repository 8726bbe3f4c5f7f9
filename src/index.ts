/** `pabal`: events, contexts, apps. */

export type { App, AppOptions, Refusal, Sent, SettleOptions } from './app/app.ts'
export { createApp } from './app/app.ts'
export type { Bound, Context } from './context/definition.ts'
export { defineContext } from './context/definition.ts'
export type { DurableOptions, ExternalOptions, Handler, OnExhausted, StartAt } from './context/handler.ts'
export type { RetryPolicy } from './context/retry.ts'
export { giveUp, retryLater } from './context/retry.ts'
export type { RunningContext, UnitOptions } from './context/runtime.ts'
export type { CommandEnvelope, ExternalHandling, Handling, Unit } from './context/unit.ts'
export { raise } from './context/scope.ts'
export type { Duration } from './core/duration.ts'
export type { Environment } from './core/environment.ts'
export { systemEnvironment } from './core/environment.ts'
export type { ErrorCode } from './core/errors.ts'
export { isPabalError, PabalError } from './core/errors.ts'
export type { Limits } from './core/limits.ts'
export type {
  CommandDefinition,
  DataOf,
  EventDefinition,
  InputOf,
  Kind,
  MessageDefinition,
  PublicEventDefinition,
  SharedDefinition,
} from './event/definition.ts'
export { defineCommand, defineEvent, defineMessage, definePublicEvent } from './event/definition.ts'
export type { Envelope, EnvelopeOf, Raised, RaisedOf } from './event/envelope.ts'
export type { Publication } from './event/publication.ts'
export { publish } from './event/publication.ts'
export type { Json, JsonSchema } from './event/schema.ts'
export type { CarriedOptions, Exchange } from './exchange/exchange.ts'
export { over } from './exchange/exchange.ts'
export type { ForeignProducer } from './exchange/foreign.ts'
export { type Route, routes } from './exchange/routes.ts'
export { inProcess } from './exchange/in-process/in-process.ts'
export { sharedStore } from './exchange/shared-store/shared-store.ts'
export type { Found, InUse, Resource, Terraform, TerraformBlocks } from './exchange/resource.ts'
export type {
  Channel,
  Incoming,
  Needs,
  OpenTransport,
  Outgoing,
  Published,
  Receiving,
  Selection,
  Take,
  Taken,
  Traits,
  Transport,
  TransportOptions,
} from './exchange/transport.ts'
export { tooLarge } from './exchange/transport.ts'
export type { Store } from './store/store.ts'
