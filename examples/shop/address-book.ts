/** The delivery service's memory: the last address of each order, on disk before it is acknowledged. */

import { openJsonLines, readJsonLines } from './json-lines.ts'

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
  get(orderId: string): AddressChange | undefined
}

/** Every idempotency key is kept in memory: this stands for a service of others, on the scale of an example. */
export async function openAddressBook(path: string): Promise<AddressBook> {
  const current = new Map<string, AddressChange>()
  const byKey = new Map<string, AddressChange>()
  const apply = (change: AddressChange): AddressChange => {
    const before = current.get(change.orderId)
    const last = before !== undefined && before.sequence >= change.sequence ? before : change
    current.set(change.orderId, last)
    return last
  }

  for await (const line of readJsonLines(path)) {
    if (line.torn) continue
    const change = line.value as AddressChange
    byKey.set(change.idempotencyKey, change)
    apply(change)
  }
  const lines = await openJsonLines(path)

  return {
    async put(change) {
      const known = byKey.get(change.idempotencyKey)
      if (known !== undefined && !isSame(known, change)) return 'key-reused'
      // Appended even if known: the first attempt may still be on its way to the disk, or may have failed there.
      byKey.set(change.idempotencyKey, change)
      await lines.append([change])
      return apply(change)
    },
    get: (orderId) => current.get(orderId),
    [Symbol.asyncDispose]: () => lines[Symbol.asyncDispose](),
  }
}

const isSame = (a: AddressChange, b: AddressChange) =>
  a.orderId === b.orderId && a.address === b.address && a.sequence === b.sequence
