/** What went wrong, in our words: the clients name it in many ways, of AWS, of its two protocols and of the network. */

import { isPabalError, PabalError } from '../../core/errors.ts'

interface Told {
  readonly name?: unknown
  readonly message?: unknown
  readonly code?: unknown
  /** Set on what the service itself has answered. */
  readonly $fault?: unknown
  readonly $metadata?: { readonly httpStatusCode?: unknown } | undefined
}

const told = (error: unknown): Told => (typeof error === 'object' && error !== null ? error : {})

const statusOf = (error: unknown): number => Number(told(error).$metadata?.httpStatusCode ?? 0)

/** The topic, queue or subscription is not there. */
export const isMissing = (error: unknown): boolean =>
  /^(?:QueueDoesNotExist|(?:AWS\.SimpleQueueService\.)?NonExistentQueue|(?:Resource)?NotFound(?:Exception)?)$/.test(
    String(told(error).name),
  )

/** Nobody with these credentials may do that. */
const isDenied = (error: unknown): boolean =>
  statusOf(error) === 401 ||
  statusOf(error) === 403 ||
  /AccessDenied|AuthorizationError|InvalidClientTokenId|UnrecognizedClient|Signature|ExpiredToken|CredentialsProvider|AuthenticationToken|InvalidAccessKeyId|InvalidSecurity|OptInRequired/.test(
    String(told(error).name),
  )

/** The service has understood the request, and does not take it: another try of the same will end the same. */
export const isRefused = (error: unknown): boolean => {
  const { $fault, name } = told(error)
  return $fault === 'client' && !isMissing(error) && !isDenied(error) && !/Thrott|Limit|Busy/i.test(String(name))
}

/** Something is on the other side, and it has answered: not with an error of the network, nor of its own making. */
const isAnswered = (error: unknown): boolean => told(error).$fault !== undefined && statusOf(error) < 500

/** `what` is the action as policies name it, such as `sns:Publish`. Throttling and the like stay what they are. */
export const translated = (what: string, error: unknown): unknown => {
  if (isPabalError(error) || isMissing(error)) return error
  const { name, message } = told(error)
  const detail = [name, message].filter((part) => typeof part === 'string' && part !== '').join(': ')
  if (isDenied(error))
    return new PabalError('PABAL_TRANSPORT_UNREACHABLE', `${what} is not allowed with these credentials: ${detail}`, {
      cause: error,
    })
  if (isAnswered(error)) return error
  return new PabalError('PABAL_TRANSPORT_UNREACHABLE', `${what} was not answered: ${detail || String(error)}`, {
    cause: error,
  })
}

/** Of a part of the broker that ought to be there. */
export const invalidTransport = (detail: string, cause?: unknown): PabalError =>
  new PabalError('PABAL_TRANSPORT_INVALID', detail, cause === undefined ? {} : { cause })

export const unlessMissing = (error: unknown): undefined => {
  if (!isMissing(error)) throw error
}

/** It cannot be made, or is there and another. What has a name of ours already stays what it is. */
export const unusable = (what: string, error: unknown): unknown =>
  isPabalError(error)
    ? error
    : invalidTransport(`${what} cannot be made: ${error instanceof Error ? error.message : String(error)}`, error)
