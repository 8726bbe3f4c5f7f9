/** What notification sends: one-way messages, no facts. */

import { defineMessage } from 'pabal'
import { z } from 'zod'

export const SendNotification = defineMessage('notification.send-notification', {
  title: '알림 보내기',
  schema: z.object({
    outcome: z.enum(['shipped', 'declined', 'returned']),
    /** Of the order, or of the return. */
    invoiceNo: z.string(),
    customerId: z.string(),
    text: z.string(),
  }),
  key: ({ invoiceNo }) => invoiceNo,
})
