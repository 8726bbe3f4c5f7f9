/** The contract of the store port as plain data: every adapter runs it, ours and yours, with any test runner. */

import { appendRules } from './store-contract/append.ts'
import { cursorRules } from './store-contract/cursors.ts'
import { editionRules } from './store-contract/editions.ts'
import { earlyRules } from './store-contract/early.ts'
import type { StoreRule } from './store-contract/fixture.ts'
import { inboxRules } from './store-contract/inbox.ts'
import { operatingRules } from './store-contract/operating.ts'
import { parkingRules } from './store-contract/parking.ts'
import { readingRules, retentionRules } from './store-contract/reading.ts'
import { historyRules } from './store-contract/history.ts'
import { readerRules, timerRules, unitRules } from './store-contract/timers.ts'
import { transactionRules } from './store-contract/transactions.ts'
import { wishRules } from './store-contract/wishes.ts'

export type { Process, StoreHarness, StoreRule, StoreUnderTest } from './store-contract/fixture.ts'
export { checkHistory, type HistoryUnit } from './store-contract/history.ts'

/**
 * One test per rule of the port (`Store` of `pabal`). Each runs on an empty database of its own; they may run at the same time.
 *
 * ```ts
 * for (const { name, run } of storeContract) test(name, () => run(harness))
 * ```
 *
 * What an adapter cannot do it declares by the test's name, with the reason: see `plan`.
 */
export const storeContract: readonly StoreRule[] = [
  ...transactionRules,
  ...appendRules,
  ...readingRules,
  ...retentionRules,
  ...cursorRules,
  ...wishRules,
  ...editionRules,
  ...inboxRules,
  ...earlyRules,
  ...parkingRules,
  ...timerRules,
  ...readerRules,
  ...unitRules,
  ...operatingRules,
  ...historyRules,
]
