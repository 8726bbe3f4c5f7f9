/** What goes wrong, as people and scripts are told: one message with code and remedy, and an exit code. */

import { isPabalError } from 'pabal'
import { ShopInputError } from './retail/input-error.ts'
import { ShopStoreError } from './store-error.ts'

export const exitCodes = { ok: 0, failed: 1, usage: 2, unreachable: 3 } as const

export interface Told {
  readonly text: string
  readonly exitCode: number
}

/** What the app wants an operator to know while it runs. */
export const warn = (what: string, error: unknown): void =>
  void process.stderr.write(`warning: ${what}: ${typeof error === 'string' ? error : tell(error).text}\n`)

export function tell(error: unknown): Told {
  if (error instanceof ShopInputError)
    return { text: `${error.code}: ${error.message}\n  remedy: ${error.remedy}`, exitCode: exitCodes.failed }
  if (error instanceof ShopStoreError)
    return {
      text: `${error.code}: ${error.message}\n  remedy: ${error.remedy}`,
      exitCode: error.isUsage ? exitCodes.usage : exitCodes.unreachable,
    }
  if (isPabalError(error))
    return {
      text: `${error.message}\n  remedy: ${error.remedy}`,
      exitCode: error.code.startsWith('PABAL_STORE_') ? exitCodes.unreachable : exitCodes.failed,
    }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { text: `SHOP_UNEXPECTED: ${text}\n  remedy: This is a fault of the shop; please report it.`, exitCode: 1 }
}
