/** The delivery service's memory: the last address of each order, on disk before it is acknowledged. */

import { openJsonLines, openJsonLinesReader } from './json-lines.ts'

export interface AddressChange {
  readonly orderId: string
  readonly address: string
  /** Grows with every change of this order's address; the highest wins, in whatever order they arrive. */
  readonly sequence: number
  readonly idempotencyKey: string
}

export interface AddressBook extends AsyncDisposable {
  /**
   * Resolves, once on disk, with the change that the order has now: this one, or a newer one that came before it. The
   * same change again changes nothing. 'key-reused' if its idempotency key was used for another change.
   */
  put(change: AddressChange): Promise<AddressChange | 'key-reused'>
  get(orderId: string): Promise<AddressChange | undefined>
}

/**
 * The file is the truth, so that several processes may have it open; every idempotency key is kept in memory besides. This
 * stands for a service of others, on the scale of an example.
 */
export async function openAddressBook(path: string): Promise<AddressBook> {
  const current = new Map<string, AddressChange>()
  const byKey = new Map<string, AddressChange>()
  const lines = await openJsonLines(path)
  const reader = await openJsonLinesReader(path)

  const catchUp = async () => {
    for (const line of await reader.readNew()) {
      if (line.torn) continue
      const change = line.value as AddressChange
      byKey.set(change.idempotencyKey, change)
      const before = current.get(change.orderId)
      if (before === undefined || before.sequence < change.sequence) current.set(change.orderId, change)
    }
  }
  await catchUp()

  return {
    async put(change) {
      await catchUp()
      const known = byKey.get(change.idempotencyKey)
      if (known !== undefined && !isSame(known, change)) return 'key-reused'
      // Appended even if known: the first attempt may still be on its way to the disk, or may have failed there.
      byKey.set(change.idempotencyKey, change)
      await lines.append([change])
      await catchUp()
      return current.get(change.orderId) ?? change
    },
    async get(orderId) {
      await catchUp()
      return current.get(orderId)
    },
    async [Symbol.asyncDispose]() {
      await lines[Symbol.asyncDispose]()
      await reader[Symbol.asyncDispose]()
    },
  }
}

const isSame = (a: AddressChange, b: AddressChange) =>
  a.orderId === b.orderId && a.address === b.address && a.sequence === b.sequence
