/** Joins an interactive transaction of Prisma. */

import { notATransaction, type OwnTransaction } from './own-transaction.ts'

/** `Prisma.TransactionClient`; the client itself can connect. */
export interface PrismaTransaction {
  $queryRawUnsafe(sql: string, ...values: unknown[]): PromiseLike<unknown>
  $executeRawUnsafe(sql: string, ...values: unknown[]): PromiseLike<number>
  readonly $connect?: never
}

/** The `tx` that `prisma.$transaction` gives; `prisma` does not compile. @throws PABAL_NOT_A_TRANSACTION for `prisma` */
export const fromPrisma = (tx: PrismaTransaction): OwnTransaction => {
  if (tx.$connect !== undefined)
    throw notATransaction('fromPrisma was given the client; pass the tx that prisma.$transaction gives')
  return {
    query: async (sql, values) => {
      try {
        if (givesNoRows(sql)) return { rows: [], rowCount: await tx.$executeRawUnsafe(sql, ...values) }
        const rows = (await tx.$queryRawUnsafe(sql, ...values)) as Record<string, unknown>[]
        return { rows, rowCount: rows.length }
      } catch (error) {
        throw driverErrorOf(error)
      }
    },
  }
}

/** Prisma gives either the rows or their number. */
const givesNoRows = (sql: string): boolean =>
  /^\s*(?:insert|update|delete|merge|savepoint|release|rollback)\b/i.test(sql) && !/\breturning\b/i.test(sql)

interface RawQueryFailed {
  readonly meta?: {
    readonly driverAdapterError?: {
      readonly cause?: { readonly originalCode?: string; readonly originalMessage?: string }
    }
    /** Where an engine, and no driver adapter, talks to the server; `N/A` for what is none of its errors. */
    readonly code?: string
    readonly message?: string
  }
}

/** Prisma says P2010 for whatever the server says. */
const driverErrorOf = (error: unknown): unknown => {
  const { meta = {} } = error as RawQueryFailed
  const { originalCode = meta.code, originalMessage = meta.message } = meta.driverAdapterError?.cause ?? {}
  if (originalCode === undefined || originalCode === 'N/A') return error
  return Object.assign(new Error(originalMessage, { cause: error }), { code: originalCode })
}
