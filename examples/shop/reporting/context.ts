/** Reporting: sales and refunds by day and country. It only listens: it has no events of its own. */

import { defineContext } from 'pabal'
import { kysely } from 'pabal/kysely'
import type { ReportingTables } from './tables.ts'

export const reporting = defineContext('reporting', { title: '보고', store: kysely<ReportingTables>, events: [] })
