/** What SQLite's result codes mean for the caller. */

import { type ErrorCode, PabalError } from '../../core/errors.ts'

// Primary result codes, https://sqlite.org/rescode.html
const meanings: Record<number, ErrorCode> = {
  5: 'PABAL_STORE_BUSY',
  6: 'PABAL_STORE_BUSY',
  8: 'PABAL_STORE_READONLY',
  10: 'PABAL_STORE_UNREACHABLE',
  11: 'PABAL_STORE_FOREIGN',
  13: 'PABAL_STORE_FULL',
  14: 'PABAL_STORE_UNREACHABLE',
  26: 'PABAL_STORE_FOREIGN',
}

const primaryCode = (error: unknown): number | undefined => {
  const code = (error as { errcode?: unknown } | null)?.errcode
  return typeof code === 'number' ? code & 0xff : undefined
}

export const isBusy = (error: unknown): boolean => [5, 6].includes(primaryCode(error) ?? 0)
export const isCorrupt = (error: unknown): boolean => [11, 26].includes(primaryCode(error) ?? 0)

/** The error itself when it is not about the database file: a broken constraint is the user's business. */
export const storeError = (error: unknown, label: string): unknown => {
  const code = meanings[primaryCode(error) ?? 0]
  if (code === undefined) return error
  return new PabalError(code, `${label}: ${(error as Error).message}`, { cause: error })
}
