import { describe, expect, test } from 'vitest'
import { inFile } from '../../test/support/sqlite-harness.ts'
import type { ContextStore, Database } from '../store/store.ts'
import { plan, storeContract, type StoreHarness } from './index.ts'

describe('the contract of a store', () => {
  test('says each rule once, in the present tense', () => {
    const names = storeContract.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
    for (const name of names) expect(name).toMatch(/^\p{Ll}[^.]*[^.\s]$/u)
  })

  test('has a rule for each promise that a store keeps by itself', () => {
    const promises = new Set(storeContract.map(({ guarantee }) => guarantee))
    for (const promise of ['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P8'] as const) expect(promises).toContain(promise)
  })
})

describe('the plan of an adapter', () => {
  const suite = [
    { name: 'one', run: async () => {} },
    { name: 'constructor', run: async () => {} },
  ]

  test('tells what it cannot, and why', () => {
    expect(plan(suite, { one: 'there is none' }).map(({ name, cannot }) => [name, cannot])).toEqual([
      ['one', 'there is none'],
      ['constructor', undefined],
    ])
  })

  test('names no rule that there is not, and gives every reason', () => {
    expect(() => plan(suite, { two: 'there is none' })).toThrow("no test 'two'")
    expect(() => plan(suite, { one: '' })).toThrow('does not say why')
  })
})

/** An adapter that breaks one rule: what it does otherwise, and a rule that must notice. */
interface Saboteur {
  readonly does: string
  readonly context?: (store: ContextStore) => Partial<ContextStore>
  readonly database?: (database: Database) => Partial<Database>
  readonly broken: string
}

const saboteurs: readonly Saboteur[] = [
  {
    does: 'commits a transaction that throws',
    database: (database) => ({
      transaction: async (fn) => {
        const outcome = await database.transaction(async (session) => {
          try {
            return { value: await fn(session) }
          } catch (error) {
            return { error }
          }
        })
        if ('error' in outcome) throw outcome.error
        return outcome.value
      },
    }),
    broken: 'a transaction that throws leaves nothing behind, of whatever it did',
  },
  {
    does: 'reads what is not committed',
    database: (database) => ({ read: (fn) => database.transaction(fn) }),
    broken: 'a read writes nothing',
  },
  {
    does: 'forgets to undo a savepoint',
    database: (database) => ({
      transaction: (fn) =>
        database.transaction((session) => fn(Object.assign(session, { savepoint: (work: () => unknown) => work() }))),
    }),
    broken: 'a savepoint that throws is undone alone, and leaves no hole',
  },
  {
    does: 'tells a `through` beyond what it has looked at',
    context: ({ log }) => ({
      log: {
        ...log,
        readAfter: async (session, options) => ({
          ...(await log.readAfter(session, options)),
          through: (await log.head(session)).position,
        }),
      },
    }),
    broken: 'reading to the end by `through` misses nothing, whatever stands between',
  },
  {
    does: 'does not check an expected sequence',
    context: ({ log }) => ({
      log: {
        ...log,
        append: (session, events) => {
          for (const event of events) event.expectedSequence = undefined
          return log.append(session, events)
        },
      },
    }),
    broken: 'of two who expect the same sequence one wins',
  },
  {
    does: 'lets a stale owner move a cursor',
    context: ({ cursors }) => ({
      cursors: {
        ...cursors,
        move: async (...move) => {
          return (await cursors.move(...move)) ?? []
        },
      },
    }),
    broken: 'a lease that has run out is taken over, and its old owner moves nothing any more',
  },
  {
    does: 'tells an owner of no wish',
    context: ({ cursors }) => ({
      cursors: { ...cursors, move: async (...move) => (await cursors.move(...move)) && [] },
    }),
    broken: 'an owner is told by its next moves which of the lanes in them somebody wishes for',
  },
  {
    does: 'leaves lanes to processes that would pass over what a newer one wants',
    context: ({ editions }) => ({
      editions: { ...editions, isSuperseded: () => false },
    }),
    broken: 'the first of a newer edition has the lanes of those that run an older one taken away',
  },
  {
    does: 'takes a lease away from its owner',
    context: ({ cursors }) => ({
      cursors: {
        ...cursors,
        claim: async (session, id, leaseMs) => {
          await cursors.revoke(session, id.consumer)
          return cursors.claim(session, id, leaseMs)
        },
      },
    }),
    broken: 'a lease that has not run out is not taken over',
  },
  {
    does: 'keeps the inbox over a reset',
    context: ({ cursors, inbox }) => ({
      cursors: {
        ...cursors,
        reset: async (session, consumer, source, to) => {
          const stream = { consumer, source, stream: 'shop' }
          const heads = await inbox.heads(session, stream, ['a'])
          await cursors.reset(session, consumer, source, to)
          await inbox.advance(session, stream, heads)
        },
      },
    }),
    broken: 'a reset puts every lane over a source to a place, and forgets what was parked and applied there',
  },
  {
    does: 'forgets where a key stood when its events are dropped',
    context: ({ log }) => ({
      log: {
        ...log,
        previous: async (session, key, before, types) => {
          const found = await log.previous(session, key, before, types)
          return found !== undefined && 'id' in found ? found : undefined
        },
      },
    }),
    broken: 'previous gives the bare sequence of an event that was dropped',
  },
]

const sabotaged = ({ context = () => ({}), database: change = () => ({}) }: Saboteur): StoreHarness => ({
  create: async () => {
    const store = await inFile.create()
    return {
      open: async () => {
        const database = await store.open()
        const changes: Partial<Database> = {
          context: async (name) => {
            const own = await database.context(name)
            return { ...own, ...context(own) }
          },
          ...change(database),
        }
        return new Proxy(database, {
          get: (target, name) => {
            if (Object.hasOwn(changes, name)) return changes[name as keyof Database]
            const value: unknown = target[name as keyof Database]
            return typeof value === 'function' ? (value as () => unknown).bind(target) : value
          },
        })
      },
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    }
  },
})

test.each(saboteurs)('an adapter that $does breaks the rule: $broken', async (saboteur) => {
  const rule = storeContract.find(({ name }) => name === saboteur.broken)
  expect(rule).toBeDefined()
  await rule!.run(inFile)
  await expect(rule!.run(sabotaged(saboteur))).rejects.toMatchObject({ code: 'ERR_ASSERTION' })
})
