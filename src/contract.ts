/** `pabal/contract`: what a package of shared contracts needs, and nothing of Node. */

export type {
  CommandDefinition,
  DataOf,
  InputOf,
  Kind,
  MessageDefinition,
  PublicEventDefinition,
} from './event/definition.ts'
export { defineCommand, defineMessage, definePublicEvent } from './event/definition.ts'
export type { Json, JsonSchema } from './event/schema.ts'
