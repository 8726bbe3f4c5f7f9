/** Composition: what does not fit together is refused before anything is opened, by the names of context and handler. */

import { existsSync } from 'node:fs'
import {
  createApp,
  defineCommand,
  defineContext,
  defineEvent,
  definePublicEvent,
  inProcess,
  over,
  publish,
  routes,
  sharedStore,
} from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import * as filtered from '../../test/support/filtered-shop.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  enter,
  ledgerOf,
  logOf,
  OrderPaid,
  OrderPlaced,
  OrderPlacedV1,
  order,
  ordering,
  PlaceOrder,
  prepareLedger,
  shipping,
  testApp,
  withCode,
} from '../../test/support/shop.ts'
import { NastyBroker } from '../testing/nasty-transport.ts'

const refused = (message: RegExp) => withCode('PABAL_COMPOSITION_INVALID', message)
const compose = (options: Parameters<typeof createApp>[0]) => () => createApp(options)
const store = sqlite('/nonexistent/never-opened.db')
const list = ordering.on(OrderPlaced, 'list', () => 0)
const place = ordering.handle(PlaceOrder, () => 0)
const ship = shipping.consume(OrderPlacedV1, 'ship', () => 0)

describe('an app is refused', () => {
  test('without a context', () => {
    expect(compose({ contexts: [] })).toThrow(refused(/at least one context/))
  })

  test('with two contexts of one name', () => {
    expect(compose({ contexts: [ordering.with({ store }), ordering.with({ store })] })).toThrow(refused(/'ordering'/))
  })

  test('with two handlers of one name in a context, also in different phases', () => {
    const same = ordering.on(OrderPaid, 'list', () => 0, { phase: 'before-commit' })
    expect(compose({ contexts: [ordering.with({ store, handlers: [list, same] })] })).toThrow(
      refused(/'ordering'.*'list'/),
    )
    expect(compose({ contexts: [ordering.with({ store, handlers: [list, list] })] })).toThrow(
      refused(/'ordering'.*'list'/),
    )
  })

  test('with two handlers of one command', () => {
    expect(compose({ contexts: [ordering.with({ store, handlers: [place, place] })] })).toThrow(
      refused(/ordering\.place-order.*'ordering'.*'ordering'/),
    )
  })

  test('when a command that a context promises has no handler', () => {
    const Promised = defineCommand('notes.note', { schema: z.object({}) })
    const notes = defineContext('notes', { store: sqlite, events: [], commands: [Promised] })
    expect(compose({ contexts: [notes.with({ store })] })).toThrow(refused(/'notes'.*notes\.note/))
  })

  test('when a handler’s event is not among the context’s events', () => {
    const Stray = defineEvent('ordering.order-strayed', { schema: z.object({}), key: () => 'x' })
    expect(compose({ contexts: [ordering.with({ store, handlers: [ordering.on(Stray, 'stray', () => 0)] })] })).toThrow(
      refused(/'ordering'.*'stray'.*ordering\.order-strayed/),
    )
  })

  test('when nobody here publishes what is consumed', () => {
    expect(compose({ contexts: [shipping.with({ store, handlers: [ship] })] })).toThrow(
      refused(/'shipping'.*'ship'.*shop\.order-placed\.v1/),
    )
    const Other = definePublicEvent('shop.other.v1', {
      kind: 'domain',
      schema: z.object({ id: z.string() }),
      key: ({ id }) => id,
    })
    const other = shipping.consume([OrderPlacedV1, Other], 'both', () => 0)
    expect(compose({ contexts: [ordering.with({ store }), shipping.with({ store, handlers: [other] })] })).toThrow(
      refused(/'shipping'.*'both'.*shop\.other\.v1/),
    )
  })

  test('when two contexts that run elsewhere have one name', () => {
    expect(
      compose({
        contexts: [shipping.with({ store, handlers: [ship] })],
        exchange: sharedStore(ordering.with({ store }), ordering.with({ store: sqlite('/nonexistent/other.db') })),
      }),
    ).toThrow(refused(/'ordering'/))
  })
})

describe('an attribute that stays the same for a key', () => {
  const broker = new NastyBroker({ random: Math.random })
  const Noted = definePublicEvent('shop.noted.v1', {
    kind: 'domain',
    schema: z.object({ id: z.string() }),
    key: () => 'x',
  })
  const OrderNoted = defineEvent('ordering.order-noted', { schema: z.object({ id: z.string() }), key: () => 'x' })
  const source = defineContext('ordering', {
    store: sqlite,
    events: [filtered.OrderPlaced, OrderNoted],
    publishes: [
      publish(filtered.OrderPlaced, filtered.OrderPlacedV1, ({ data }) => data),
      publish(OrderNoted, Noted, ({ data }) => data),
    ],
  })
  const apart = { stream: 'noted', events: [Noted], over: over(broker.transport, { name: 'second' }) }

  test('is declared by all events of a stream that is carried', () => {
    const contexts = [source.with({ store })]
    expect(compose({ contexts, exchange: over(broker.transport) })).toThrow(
      refused(/'ordering' publishes 'country'.*shop\.noted\.v1 does not have it/),
    )
    compose({ contexts })()
    compose({ contexts, exchange: routes(over(broker.transport), apart) })()
  })
})

test('nothing is opened by composing, and nothing is left by a refusal', async () => {
  const folder = await testFolder()
  createApp({ contexts: [ordering.with({ store: sqlite(`${folder}/sub/ordering.db`), handlers: [list, place] })] })
  expect(existsSync(`${folder}/sub`)).toBe(false)
})

test('a context of another app is refused when it is asked for', () => {
  const app = createApp({ contexts: [ordering.with({ store })] })
  expect(() => app.context(shipping)).toThrow(refused(/'shipping' is not a context of this app/))
})

describe('a consumer before commit', () => {
  const strict = shipping.consume(
    OrderPlacedV1,
    'strict',
    (event, { tx }) => {
      tx.run(
        'INSERT INTO ledger (consumer, event_id, key, sequence) VALUES (?, ?, ?, 0)',
        'strict',
        event.id,
        event.key,
      )
      if (event.data.n < 0) throw new Error('no room')
    },
    { phase: 'before-commit' },
  )

  test('is refused by name where the contexts do not share a database', () => {
    const apart = {
      contexts: [ordering.with({ store }), shipping.with({ store: sqlite('/nonexistent/b.db'), handlers: [strict] })],
    }
    const message = /'shipping'.*'strict'.*'ordering'.*share a database/
    expect(compose(apart)).toThrow(refused(message))
    expect(compose({ ...apart, exchange: inProcess() })).toThrow(refused(message))
    expect(
      compose({
        contexts: [shipping.with({ store, handlers: [strict] })],
        exchange: sharedStore(ordering.with({ store })),
      }),
    ).toThrow(refused(message))
  })

  test('is refused between two databases in memory', () => {
    expect(
      compose({
        contexts: [
          ordering.with({ store: sqlite(':memory:') }),
          shipping.with({ store: sqlite(':memory:'), handlers: [strict] }),
        ],
      }),
    ).toThrow(refused(/'strict'/))
  })

  test.each(['one store', 'two stores of one path'])('is one transaction with the producer on %s', async (how) => {
    const path = `${await testFolder()}/shop.db`
    const shared = sqlite(path)
    const app = testApp([
      ordering.with({ store: shared }),
      shipping.with({ store: how === 'one store' ? shared : sqlite(path), handlers: [strict], prepare: prepareLedger }),
    ])
    const context = app.context(ordering)
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a')))
    const failing = context.transaction(({ raise }) => {
      raise(OrderPlaced, order('b'))
      raise(OrderPlaced, order('c', -1))
    })
    await expect(failing).rejects.toThrow('no room')
    expect(logOf(path).map(({ key }) => key)).toEqual(['a'])
    expect(ledgerOf(path).map(({ key }) => key)).toEqual(['a'])
  })

  test('sees the public form only', async () => {
    const path = `${await testFolder()}/shop.db`
    const Secret = defineEvent('ordering.secret-kept', {
      schema: z.object({ id: z.string(), secret: z.string() }),
      key: ({ id }) => id,
    })
    const Told = definePublicEvent('shop.told.v1', {
      kind: 'notification',
      schema: z.object({ id: z.string() }),
      key: ({ id }) => id,
    })
    const source = defineContext('ordering', {
      store: sqlite,
      events: [Secret],
      publishes: [publish(Secret, Told, ({ data }) => ({ id: data.id }))],
    })
    const seen: unknown[] = []
    const app = testApp([
      source.with({ store: sqlite(path) }),
      shipping.with({
        store: sqlite(path),
        handlers: [
          shipping.consume(Told, 'told', ({ type, data }) => seen.push([type, data]), { phase: 'before-commit' }),
        ],
      }),
    ])
    await app.context(source).transaction(({ raise }) => raise(Secret, { id: 'a', secret: 'x' }))
    expect(seen).toEqual([['shop.told.v1', { id: 'a' }]])
  })

  test('and a durable one of the same event may stand side by side', async () => {
    const path = `${await testFolder()}/shop.db`
    const app = testApp([
      ordering.with({ store: sqlite(path) }),
      shipping.with({
        store: sqlite(path),
        prepare: prepareLedger,
        handlers: [strict, shipping.consume(OrderPlacedV1, 'later', (event, { tx }) => enter(tx, 'later', event))],
      }),
    ])
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await app.settle({ withinMs: 10_000 })
    expect(ledgerOf(path).map(({ consumer }) => consumer)).toEqual(['strict', 'later'])
  })
})
