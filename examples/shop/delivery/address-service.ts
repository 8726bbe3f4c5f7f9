/** The external delivery service as delivery sees it: over HTTP, wherever it runs. */

import { giveUp } from 'pabal'
import type { AddressChange } from '../address-book.ts'

export interface AddressService {
  /** Resolves when the service has this address, or a newer one, on disk. */
  put(change: AddressChange, signal: AbortSignal): Promise<void>
  /** What the service has. */
  get(orderId: string): Promise<Pick<AddressChange, 'address' | 'sequence'> | undefined>
}

/** `whereabouts` is asked before each call: a service that was started again is at another URL. */
export function createAddressService(whereabouts: () => Promise<string>): AddressService {
  const call = async (path: string, request: RequestInit): Promise<Response> =>
    fetch((await whereabouts()) + path, request)

  return {
    async put({ orderId, address, sequence, idempotencyKey }, signal) {
      const response = await call(`/orders/${encodeURIComponent(orderId)}/address`, {
        method: 'PUT',
        headers: { 'idempotency-key': idempotencyKey },
        body: JSON.stringify({ address, sequence }),
        signal,
      })
      const text = await response.text()
      if (response.ok) return
      const reason = `the delivery service answered ${response.status}: ${text}`
      throw response.status < 500 ? giveUp(reason) : new Error(reason)
    },
    async get(orderId) {
      const response = await call(`/orders/${encodeURIComponent(orderId)}`, {})
      if (response.status === 404) return undefined
      return (await response.json()) as AddressChange
    },
  }
}
