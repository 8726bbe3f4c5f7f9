/**
 * The outbound channel of notifications, stood in for by a file: one JSON line per message with its idempotency key.
 * A message can be sent twice (a crash between sending and recording that), so it is counted by its key.
 */

import { openJsonLines, readJsonLines } from './json-lines.ts'

export type Outcome = 'shipped' | 'declined' | 'returned'

export interface Notification {
  /** The same for every attempt to send this message. */
  readonly idempotencyKey: string
  readonly outcome: Outcome
  /** Of the order, or of the return. */
  readonly invoiceNo: string
  readonly customerId: string
  readonly text: string
}

export interface NotificationFile extends AsyncDisposable {
  /** Resolves when all are on disk; on a rejection send the same ones again. */
  send(notifications: readonly Notification[]): Promise<void>
}

export interface NotificationCount {
  /** Distinct idempotency keys. */
  readonly notifications: number
  readonly byOutcome: Readonly<Record<Outcome, number>>
  /** Lines whose key was there before. */
  readonly repeated: number
  /** Lines that a crash tore off; their messages were sent again. */
  readonly torn: number
}

export async function openNotificationFile(path: string): Promise<NotificationFile> {
  const lines = await openJsonLines(path)
  return {
    send: (notifications) => lines.append(notifications),
    [Symbol.asyncDispose]: () => lines[Symbol.asyncDispose](),
  }
}

/** Counts a file that may be appended to meanwhile; zeros if there is none. Holds the keys in memory. */
export async function countNotifications(path: string): Promise<NotificationCount> {
  const keys = new Set<string>()
  const byOutcome = { shipped: 0, declined: 0, returned: 0 }
  let repeated = 0
  let torn = 0
  for await (const line of readJsonLines(path)) {
    if (line.torn) {
      torn++
      continue
    }
    const { idempotencyKey, outcome } = line.value as Notification
    if (keys.has(idempotencyKey)) {
      repeated++
      continue
    }
    keys.add(idempotencyKey)
    byOutcome[outcome]++
  }
  return { notifications: keys.size, byOutcome, repeated, torn }
}
