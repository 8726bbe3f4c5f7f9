/** What the client throws, in the words of the catalogue. Its classes are not imported here: their names and codes are stable. */

import { isPabalError, PabalError } from '../../core/errors.ts'

interface ClientError {
  readonly name: string
  readonly message: string
  /** Of an answer of JetStream, its own code. */
  readonly code?: unknown
  readonly cause?: unknown
}

const api = {
  consumerNotFound: 10014,
  messageNotFound: 10037,
  streamNotFound: 10059,
  streamNameTaken: 10058,
  unavailable: 10008,
} as const

const chainOf = (error: unknown): readonly ClientError[] => {
  const chain: ClientError[] = []
  for (let at = error; at instanceof Error && chain.length < 8; at = at.cause) chain.push(at)
  return chain
}

const isCode = (error: unknown, ...codes: readonly number[]): boolean =>
  chainOf(error).some(({ code }) => codes.includes(code as number))

export const isNotFound = (error: unknown): boolean => isCode(error, api.consumerNotFound, api.streamNotFound)
export const isNoMessage = (error: unknown): boolean => isCode(error, api.messageNotFound)
export const isNameTaken = (error: unknown): boolean => isCode(error, api.streamNameTaken)
export const isTimeout = (error: unknown): boolean => chainOf(error).some(({ name }) => name === 'TimeoutError')
/** More than the server carries: the client does not send it. */
export const isTooMuch = (error: unknown): boolean => chainOf(error).some(({ message }) => /max_payload/.test(message))
/** Nobody takes what is published to that subject. */
export const isNobodyThere = (error: unknown): boolean => chainOf(error).some(({ name }) => name === 'NoResponders')

export const unreachable = (detail: string, cause?: unknown): PabalError =>
  new PabalError('PABAL_TRANSPORT_UNREACHABLE', `nats: ${detail}`, { cause })

export const wrong = (detail: string, cause?: unknown): PabalError =>
  new PabalError('PABAL_TRANSPORT_INVALID', `nats: ${detail}`, { cause })

/** `doing`: what was tried, such as `making the stream pabal-ordering`. */
export const asPabalError = (error: unknown, doing: string): PabalError => {
  if (isPabalError(error)) return error
  const chain = chainOf(error)
  const message = chain[0]?.message ?? String(error)
  const named = (...names: readonly string[]): ClientError | undefined => chain.find(({ name }) => names.includes(name))
  const forbidden = named('PermissionViolationError')
  if (forbidden !== undefined) return wrong(`${doing}: the user lacks a right: ${forbidden.message}`, error)
  const refused = named('AuthorizationError', 'UserAuthenticationExpiredError')
  if (refused !== undefined)
    return unreachable(`${doing}: the server refuses the credentials: ${refused.message}`, error)
  if (named('JetStreamNotEnabled') !== undefined)
    return wrong(`${doing}: JetStream is not enabled on the server, or not for the account`, error)
  if (
    named('JetStreamApiError', 'StreamNotFoundError', 'ConsumerNotFoundError') !== undefined &&
    !isCode(error, api.unavailable)
  )
    return wrong(`${doing}: ${message}`, error)
  return unreachable(`${doing}: ${message || 'no connection'}`, error)
}
