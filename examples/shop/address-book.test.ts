import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type AddressChange, openAddressBook } from './address-book.ts'

async function newPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shop-addresses-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return join(folder, 'addresses.jsonl')
}

const change = (sequence: number, orderId = '536365'): AddressChange => ({
  orderId,
  sequence,
  address: `${sequence} High Street`,
  idempotencyKey: `${orderId}-${sequence}`,
})

describe('the address book', () => {
  it('answers an older change with the newer one that it has', async () => {
    await using book = await openAddressBook(await newPath())
    expect(await book.put(change(2))).toEqual(change(2))
    expect(await book.put(change(1))).toEqual(change(2))
    expect(await book.get('536365')).toEqual(change(2))
    expect(await book.get('536366')).toBeUndefined()
  })

  it('is the same to two processes that have it open', async () => {
    const path = await newPath()
    await using one = await openAddressBook(path)
    await using other = await openAddressBook(path)
    await one.put(change(2))
    expect(await other.get('536365')).toEqual(change(2))
    expect(await other.put(change(1))).toEqual(change(2))
    expect(await other.put({ ...change(3), idempotencyKey: change(2).idempotencyKey })).toBe('key-reused')
    await other.put(change(4))
    expect(await one.get('536365')).toEqual(change(4))
  })

  it('refuses an idempotency key that was used for another change', async () => {
    await using book = await openAddressBook(await newPath())
    await book.put(change(1))
    expect(await book.put({ ...change(2), idempotencyKey: change(1).idempotencyKey })).toBe('key-reused')
    expect(await book.get('536365')).toEqual(change(1))
  })

  it('has the highest sequence of every order, whatever the order and repetition, also when opened again', async () => {
    const changes = fc.array(fc.record({ orderId: fc.constantFrom('a', 'b'), sequence: fc.nat({ max: 5 }) }))
    await fc.assert(
      fc.asyncProperty(changes, changes, async (some, others) => {
        const path = await newPath()
        for (const part of [some, others]) {
          await using book = await openAddressBook(path)
          await Promise.all(part.map(({ sequence, orderId }) => book.put(change(sequence, orderId))))
        }
        await using book = await openAddressBook(path)
        for (const orderId of ['a', 'b']) {
          const all = [...some, ...others].filter((one) => one.orderId === orderId)
          const highest = Math.max(...all.map(({ sequence }) => sequence))
          expect(await book.get(orderId)).toEqual(all.length === 0 ? undefined : change(highest, orderId))
        }
      }),
      { numRuns: 30 },
    )
  })
})
