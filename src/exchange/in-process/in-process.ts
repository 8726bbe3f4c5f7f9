/** Contexts of one process: consumers read the producers' logs directly, woken by each commit. */

import type { Exchange } from '../exchange.ts'

/** The exchange of a modular monolith. Order per key, no loss, no double effects (P9), without a broker. */
export const inProcess = (): Exchange => ({ '~pabal': { kind: 'in-process', producers: [], carried: [] } })
