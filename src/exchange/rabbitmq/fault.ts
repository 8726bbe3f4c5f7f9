/** What the client and the broker say when something is wrong, as our errors. */

import { isPabalError, PabalError } from '../../core/errors.ts'

/** `what` is what cannot be done. */
export const unreachable = (what: string, cause: unknown): PabalError =>
  new PabalError('PABAL_TRANSPORT_UNREACHABLE', `RabbitMQ: ${what}: ${reasonOf(cause)}`, { cause })

export const invalid = (detail: string, cause?: unknown): PabalError =>
  new PabalError('PABAL_TRANSPORT_INVALID', `RabbitMQ: ${detail}`, { cause })

/** A message that the client cannot write: an attribute or all of them are longer than AMQP 0-9-1 has room for. */
export const unwritable = (cause: unknown): PabalError =>
  new PabalError('PABAL_MESSAGE_INVALID', `it cannot be written as a message of AMQP 0-9-1: ${reasonOf(cause)}`, {
    cause,
  })

/** The most that a message may have, where the broker has said so when it ended a channel. */
export const messageBytesIn = (error: unknown): number | undefined => {
  const most = /message size \d+ is larger than (?:configured )?max size (\d+)/.exec(reasonOf(error))?.[1]
  return most === undefined ? undefined : Number(most)
}

/** Reply codes of AMQP 0-9-1 by which a channel ends that asked for something. */
const reply = { accessRefused: 403, notFound: 404, resourceLocked: 405, preconditionFailed: 406 } as const

const codeOf = (error: unknown): string | number | undefined =>
  (error as { readonly code?: string | number } | undefined)?.code
export const isMissing = (error: unknown): boolean => codeOf(error) === reply.notFound
export const isForbidden = (error: unknown): boolean => codeOf(error) === reply.accessRefused
export const isOtherwise = (error: unknown): boolean => codeOf(error) === reply.preconditionFailed

/** Of something asked on a channel: it is the broker's answer, or the broker was not heard. */
export const faultOf = (what: string, error: unknown): PabalError => {
  if (isPabalError(error)) return error
  switch (codeOf(error)) {
    case reply.accessRefused:
      return invalid(`${what}: the user lacks a right: ${reasonOf(error)}`, error)
    case reply.notFound:
    case reply.resourceLocked:
    case reply.preconditionFailed:
      return invalid(`${what}: ${reasonOf(error)}`, error)
    default:
      return unreachable(what, error)
  }
}

const reasonOf = (error: unknown): string => {
  // Where several addresses were tried, Node's error has no text of its own.
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join('; ')
  if (!(error instanceof Error)) return String(error)
  // The client keeps the broker's reason to itself, and of those that there are only this one is likely.
  if (error.message.startsWith('Expected ConnectionOpenOk'))
    return `${error.message} (the virtual host is not there, or not open to this user)`
  return error.message === '' ? String(codeOf(error) ?? error.name) : error.message
}
