/** Notification: tells customers what became of their orders and returns. It has no tables: its log is its memory. */

import { defineContext } from 'pabal'
import { kysely } from 'pabal/kysely'
import { SendNotification } from './events.ts'

export const notification = defineContext('notification', {
  title: '알림',
  store: kysely<Record<never, never>>,
  events: [],
  messages: [SendNotification],
})
