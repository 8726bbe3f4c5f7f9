/** What Postgres' SQLSTATEs, and the ways in which a connection dies, mean for the caller. */

import { type ErrorCode, isPabalError, PabalError } from '../../core/errors.ts'

/** Raised by the functions of this adapter; class PB is nobody else's. */
export const states = { xidsWentBack: 'PB001', sequenceConflict: 'PB002' } as const

// https://www.postgresql.org/docs/current/errcodes-appendix.html
const meanings: Record<string, ErrorCode> = {
  '25006': 'PABAL_STORE_READONLY',
  '25P02': 'PABAL_ROLLED_BACK',
  '25P03': 'PABAL_ROLLED_BACK',
  '25P04': 'PABAL_ROLLED_BACK',
  '26000': 'PABAL_STORE_POOLED',
  '40001': 'PABAL_STORE_CONFLICT',
  '40P01': 'PABAL_STORE_CONFLICT',
  '42P05': 'PABAL_STORE_POOLED',
  '53100': 'PABAL_STORE_FULL',
  '53300': 'PABAL_STORE_BUSY',
  '55P03': 'PABAL_STORE_BUSY',
  '57P01': 'PABAL_STORE_UNREACHABLE',
  '57P02': 'PABAL_STORE_UNREACHABLE',
  '57P03': 'PABAL_STORE_UNREACHABLE',
  '57P05': 'PABAL_STORE_UNREACHABLE',
  '3D000': 'PABAL_STORE_UNREACHABLE',
  '28000': 'PABAL_STORE_UNREACHABLE',
  '28P01': 'PABAL_STORE_UNREACHABLE',
}

/** Those of Node.js, when a connection cannot be made or is lost. */
const network = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
  'ERR_INVALID_URL',
])

const lostMessages =
  /^(?:Connection terminated|Client has encountered a connection error|Client was closed|Query read timeout|timeout expired|The server does not support SSL|Connection ended unexpectedly)/

export const codeOf = (error: unknown): string | undefined => {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}

/** The connection is of no use any more, and what it was asked last may or may not have been done. */
export const isLost = (error: unknown): boolean => {
  const code = codeOf(error)
  if (code !== undefined && (network.has(code) || ['57P01', '57P02', '57P05', '25P03', '25P04'].includes(code)))
    return true
  return error instanceof Error && lostMessages.test(error.message)
}

/** The server has ended a transaction that was silent, or open, for too long: so it has not committed. */
export const isUndone = (error: unknown): boolean => ['25P03', '25P04'].includes(codeOf(error) ?? '')

/** All that the transaction did is undone, and the same again may succeed. */
export const isConflict = (error: unknown): boolean => {
  const code = codeOf(error)
  return code === '40001' || code === '40P01' || code === 'PABAL_STORE_CONFLICT'
}

/** No connection came about: class 08 of the server's codes, or the driver could not answer what it was asked for. */
const isRefused = (error: unknown): boolean =>
  codeOf(error)?.startsWith('08') === true || (error instanceof Error && /^SASL\b/.test(error.message))

const poolTimeout = /^timeout exceeded when trying to connect/

/** The error itself when it is the business of whoever wrote the statement: a broken constraint, a wrong name. */
export const storeError = (error: unknown, label: string): unknown => {
  if (isPabalError(error)) return error
  const code = codeOf(error)
  const message = error instanceof Error && error.message !== '' ? error.message : String(code ?? error)
  const of = (meaning: ErrorCode, detail = `${label}: ${message}`) => new PabalError(meaning, detail, { cause: error })
  if (error instanceof Error && poolTimeout.test(error.message))
    return of('PABAL_STORE_BUSY', `${label}: no connection of the pool was free in time`)
  if (code !== undefined && meanings[code] !== undefined) return of(meanings[code])
  return isLost(error) || isRefused(error) ? of('PABAL_STORE_UNREACHABLE') : error
}

/** The same for statements that pabal wrote itself: there a missing right or table is the database's. */
export const ownError = (error: unknown, label: string): unknown => {
  const known = storeError(error, label)
  if (isPabalError(known)) return known
  const { message, detail } = error as { message?: string; detail?: string }
  const of = (meaning: ErrorCode, text: string) => new PabalError(meaning, `${label}: ${text}`, { cause: error })
  switch (codeOf(error)) {
    case '42501':
      return of('PABAL_STORE_FORBIDDEN', message ?? 'permission denied')
    case '23514':
      return message?.startsWith('no partition') === true
        ? of('PABAL_STORE_PARTITION_MISSING', `${message}${detail === undefined ? '' : ` (${detail})`}`)
        : error
    case '3F000':
    case '42P07':
    case '42710':
    case '42723':
    case '42P01':
    case '42703':
    case '42883':
      return of('PABAL_STORE_FOREIGN', message ?? 'a table is missing')
    case '57014':
      return of('PABAL_STORE_BUSY', message ?? 'a statement was cancelled')
    default:
      return error
  }
}
