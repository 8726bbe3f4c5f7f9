/** What the client's errors mean for the caller: they come in trees, of tries, brokers and partitions. */

import { isPabalError, PabalError } from '../../core/errors.ts'

/** An error of the client, as far as it is looked at. */
export interface Failure {
  readonly code?: unknown
  /** Kafka's own name of the error. */
  readonly apiId?: unknown
  readonly needsRejoin?: unknown
  readonly message?: unknown
  /** What the broker answered, where only a part of it is an error. */
  readonly response?: unknown
  readonly produced?: unknown
}

/** The error, and all that it was made of: the causes behind it. */
export const failuresIn = (error: unknown): readonly Failure[] => {
  if (typeof error !== 'object' || error === null) return []
  const { errors, cause } = error as { errors?: unknown; cause?: unknown }
  const inner = [...(Array.isArray(errors) ? (errors as unknown[]) : []), ...(cause === undefined ? [] : [cause])]
  return [error, ...inner.flatMap(failuresIn)]
}

export const has = (error: unknown, apiId: string): boolean =>
  failuresIn(error).some((failure) => failure.apiId === apiId)

/** The group goes on without this member, or in another generation. */
export const isOutOfGroup = (error: unknown): boolean =>
  failuresIn(error).some(({ needsRejoin }) => needsRejoin === true)

/** Fetches remember in a session what they have asked for. */
export const isOfSession = (error: unknown): boolean =>
  ['FETCH_SESSION_ID_NOT_FOUND', 'INVALID_FETCH_SESSION_EPOCH'].some((apiId) => has(error, apiId))

/** A group between two states, or between two brokers: it goes on by itself. */
export const isPassing = (error: unknown): boolean =>
  isOutOfGroup(error) ||
  ['COORDINATOR_LOAD_IN_PROGRESS', 'COORDINATOR_NOT_AVAILABLE', 'NOT_COORDINATOR'].some((apiId) => has(error, apiId))

const forbidden = ['TOPIC_AUTHORIZATION_FAILED', 'GROUP_AUTHORIZATION_FAILED', 'CLUSTER_AUTHORIZATION_FAILED']
export const isForbidden = (error: unknown): boolean => forbidden.some((apiId) => has(error, apiId))

export const isUnknownTopic = (error: unknown): boolean =>
  ['UNKNOWN_TOPIC_OR_PARTITION', 'UNKNOWN_TOPIC_ID'].some((apiId) => has(error, apiId)) ||
  // Of the client, which leaves Kafka's own error out.
  failuresIn(error).some(({ message }) => typeof message === 'string' && message.startsWith('Unknown topic '))

/** What no retry changes, of a topic that is there or was to be created. */
const unfit: Readonly<Record<string, string>> = {
  MESSAGE_TOO_LARGE: 'max.message.bytes of the topic is less than messageBytes',
  RECORD_LIST_TOO_LARGE: 'segment.bytes of the topic is less than messageBytes',
  INVALID_REPLICATION_FACTOR: 'there are fewer brokers than replicas',
  POLICY_VIOLATION: 'a policy of the cluster forbids it',
  INVALID_TOPIC_EXCEPTION: 'the cluster does not allow that name',
  INVALID_CONFIG: 'the cluster does not allow that configuration',
}

/** The error itself where it is nobody's business but the log's. */
export const transportError = (error: unknown, what: string): unknown => {
  if (isPabalError(error)) return error
  const failures = failuresIn(error)
  const of = (code: 'PABAL_TRANSPORT_UNREACHABLE' | 'PABAL_TRANSPORT_INVALID', detail: string) =>
    new PabalError(code, `${what}: ${detail}`, { cause: error })
  if (failures.some(({ code }) => code === 'PLT_KFK_AUTHENTICATION'))
    return of('PABAL_TRANSPORT_UNREACHABLE', `these credentials are not let in (${reasonOf(failures)})`)
  if (isForbidden(error)) return of('PABAL_TRANSPORT_INVALID', `this user has not the right to (${reasonOf(failures)})`)
  if (isUnknownTopic(error)) return of('PABAL_TRANSPORT_INVALID', 'the topic is not there')
  const reason = failures.map(({ apiId }) => unfit[String(apiId)]).find((text) => text !== undefined)
  if (reason !== undefined) return of('PABAL_TRANSPORT_INVALID', reason)
  const unreachable = failures.some(
    ({ code, message }) => code === 'PLT_KFK_NETWORK' || message === 'Broker requires TLS.',
  )
  return unreachable ? of('PABAL_TRANSPORT_UNREACHABLE', reasonOf(failures)) : error
}

/** The innermost of what failed, as the outer ones only say that something did. */
const reasonOf = (failures: readonly Failure[]): string => {
  const messages = failures.flatMap(({ message }) => (typeof message === 'string' && message !== '' ? [message] : []))
  return messages.at(-1) ?? 'no reason is known'
}
