/** How the shop's handlers try again: so short that one can watch a key park. A real shop keeps pabal's defaults (8 attempts over minutes). */

import type { RetryPolicy } from 'pabal'

export const retry: RetryPolicy = { attempts: 3, first: '200ms', max: '1s' }
