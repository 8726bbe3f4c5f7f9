/** One unit of work: what is raised in it is in the log if and only if it commits, and nothing outlives it. */

import { defineContext, defineEvent, defineMessage, type Envelope, raise } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { eventually, gate, quiet } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  logOf,
  OrderCancelled,
  OrderPaid,
  OrderPlaced,
  ordering,
  rowsOf,
  shipping,
  ShipmentOpened,
  testApp,
} from '../../test/support/shop.ts'

const withCode = (code: string, message?: RegExp): unknown =>
  expect.objectContaining({ code, ...(message === undefined ? {} : { message: expect.stringMatching(message) }) })

const tables = (tx: { run(sql: string): unknown }) => tx.run('CREATE TABLE IF NOT EXISTS state (id TEXT PRIMARY KEY)')
const order = (orderId: string, n = 0) => ({ orderId, n })

const openOrdering = async (handlers: Parameters<typeof ordering.with>[0]['handlers'] = []) => {
  const path = `${await testFolder()}/ordering.db`
  const app = testApp([ordering.with({ store: sqlite(path), handlers, prepare: tables })])
  return { path, app, context: app.context(ordering) }
}

describe('raising', () => {
  test('is synchronous and stores nothing before the end of the unit', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ tx, raise }) => {
      expect(raise(OrderPlaced, order('a'))).toBeUndefined()
      raise(OrderPaid, order('a'))
      expect(tx.get<{ n: number }>('SELECT count(*) AS n FROM pabal_ordering_event')?.n).toBe(0)
    })
    expect(logOf(path).map(({ type, key, sequence, position }) => [type, key, sequence, position])).toEqual([
      ['ordering.order-placed', 'a', 1, 1],
      ['ordering.order-paid', 'a', 2, 2],
    ])
  })

  test('a throw rolls back state and events together', async () => {
    const { path, context } = await openOrdering()
    const failing = context.transaction(({ tx, raise }) => {
      tx.run("INSERT INTO state VALUES ('a')")
      raise(OrderPlaced, order('a'))
      throw new Error('changed my mind')
    })
    await expect(failing).rejects.toThrow('changed my mind')
    expect(logOf(path)).toEqual([])
    expect(await context.read(({ tx }) => tx.all('SELECT * FROM state'))).toEqual([])
  })

  test('a payload that does not fit is refused at once, and the unit may go on without it', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ raise }) => {
      // @ts-expect-error n must be a number
      expect(() => raise(OrderPlaced, { orderId: 'a', n: 'x' })).toThrow(withCode('PABAL_PAYLOAD_INVALID'))
      raise(OrderPlaced, order('b'))
    })
    expect(logOf(path).map(({ key }) => key)).toEqual(['b'])
  })

  test("an event that is not among the context's events is refused", async () => {
    const { context } = await openOrdering()
    const Stray = defineEvent('ordering.order-strayed', { schema: z.object({}), key: () => 'x' })
    await expect(context.transaction(({ raise }) => raise(Stray, {}))).rejects.toEqual(
      withCode('PABAL_UNKNOWN_EVENT_TYPE', /order-strayed/),
    )
  })

  test('after the unit it fails loudly, also by a unit that was kept', async () => {
    const { path, context } = await openOrdering()
    const kept = await context.transaction((unit) => unit)
    expect(() => kept.raise(OrderPlaced, order('a'))).toThrow(withCode('PABAL_NO_UNIT_OF_WORK'))
    expect(() => kept.post({} as never, {} as never)).toThrow()
    expect(() => kept.on(OrderPlaced, () => 0)).toThrow(withCode('PABAL_NO_UNIT_OF_WORK'))
    expect(() => kept.tx.run("INSERT INTO state VALUES ('a')")).toThrow(withCode('PABAL_UNIT_CLOSED'))
    expect(logOf(path)).toEqual([])
  })

  test('a tx that was taken inside is dead after the unit, committed or not', async () => {
    const { context } = await openOrdering()
    const committed = await context.transaction(({ tx }) => tx)
    expect(() => committed.get('SELECT 1')).toThrow(withCode('PABAL_UNIT_CLOSED'))
    let kept: typeof committed | undefined
    await expect(
      context.transaction(({ tx }) => {
        kept = tx
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(() => kept?.run('DELETE FROM state')).toThrow(withCode('PABAL_UNIT_CLOSED'))
  })

  test('work that was not awaited raises into the log or fails, but is never lost in between', async () => {
    const { path, context } = await openOrdering()
    const outcomes: string[] = []
    for (let turns = 0; turns < 40; turns++)
      await context.transaction(({ raise }) => {
        raise(OrderPlaced, order(`awaited-${turns}`))
        void (async () => {
          for (let turn = 0; turn < turns; turn++) await undefined
          try {
            raise(OrderPlaced, order(`late-${turns}`))
            outcomes.push(`late-${turns}`)
          } catch {
            // Told.
          }
        })()
      })
    await quiet()
    const logged = logOf(path)
      .map(({ key }) => key)
      .filter((key) => key.startsWith('late'))
    expect(logged).toEqual(outcomes)
    expect(outcomes.length).toBeGreaterThan(0)
    expect(outcomes.length).toBeLessThan(40)
  })

  test('an unawaited raise after the append fails the unit or itself', async () => {
    // The last moment at which a raise is accepted is the append: between it and COMMIT nothing may slip in.
    const { path, context } = await openOrdering()
    const accepted: string[] = []
    for (let turns = 0; turns < 40; turns++) {
      const key = `k${turns}`
      await context
        .transaction(async ({ raise }) => {
          raise(OrderPlaced, order('other'))
          void (async () => {
            for (let turn = 0; turn < turns; turn++) await undefined
            raise(OrderPlaced, order(key))
            accepted.push(key)
          })().catch(() => undefined)
          await undefined
        })
        .catch(() => accepted.splice(accepted.indexOf(key), 1))
    }
    await quiet()
    const keys = new Set(logOf(path).map((row) => row.key))
    expect(accepted.filter((key) => !keys.has(key))).toEqual([])
  })
})

describe('one append before COMMIT', () => {
  test('the caller’s trace is stored with every event', async () => {
    const { path, context } = await openOrdering()
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await context.transaction(
      ({ raise }) => {
        raise(OrderPlaced, order('a'))
        raise(OrderPlaced, order('b'))
      },
      { traceparent },
    )
    expect(rowsOf(path, 'SELECT traceparent FROM pabal_ordering_event')).toEqual([{ traceparent }, { traceparent }])
  })

  test('sequences of interleaved keys and units go on without a gap', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ raise }) => {
      for (const id of ['a', 'b', 'a', 'a', 'b']) raise(OrderPlaced, order(id))
    })
    await context.transaction(({ raise }) => raise(OrderPaid, order('b')))
    expect(logOf(path).map(({ key, sequence }) => `${key}${sequence}`)).toEqual(['a1', 'b1', 'a2', 'a3', 'b2', 'b3'])
  })

  test('a before-commit handler sees the events that were raised before it, in order, once', async () => {
    const seen: string[] = []
    const { context } = await openOrdering([
      ordering.on([OrderPlaced, OrderPaid], 'watch', ({ type, key }) => seen.push(`${type} ${key}`), {
        phase: 'before-commit',
      }),
    ])
    await context.transaction(({ raise }) => {
      raise(OrderPlaced, order('a'))
      raise(OrderPaid, order('b'))
      raise(OrderPlaced, order('c'))
      expect(seen).toEqual([])
    })
    expect(seen).toEqual(['ordering.order-placed a', 'ordering.order-paid b', 'ordering.order-placed c'])
  })
})

describe('expected sequence', () => {
  test('a key that has moved on refuses the unit, and says where it is', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a'), { expectedSequence: 0 }))
    await context.transaction(({ raise }) => raise(OrderPaid, order('a'), { expectedSequence: 1 }))
    const late = context.transaction(({ tx, raise }) => {
      tx.run("INSERT INTO state VALUES ('a')")
      raise(OrderCancelled, order('a'), { expectedSequence: 1 })
    })
    await expect(late).rejects.toEqual(withCode('PABAL_SEQUENCE_CONFLICT', /is at 2, 1 was expected/))
    await expect(late).rejects.toMatchObject({ retryable: true, context: { key: 'a', expected: 1, actual: 2 } })
    expect(logOf(path)).toHaveLength(2)
    expect(await context.read(({ tx }) => tx.all('SELECT * FROM state'))).toEqual([])
  })

  test('of two deciders on the same state one wins', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a')))
    const decide = (event: typeof OrderPaid | typeof OrderCancelled) =>
      context.transaction(({ raise }) => raise(event, order('a'), { expectedSequence: 1 }))
    const outcomes = await Promise.allSettled([decide(OrderPaid), decide(OrderCancelled)])
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(logOf(path)).toHaveLength(2)
  })
})

describe('phases', () => {
  test('before-commit handlers run in the order in which they were given, in the raising transaction', async () => {
    const seen: string[] = []
    const { context } = await openOrdering([
      ordering.on(
        OrderPlaced,
        'first',
        async (_, { tx }) => {
          await quiet()
          tx.run("INSERT INTO state VALUES ('by first')")
          seen.push('first')
        },
        { phase: 'before-commit' },
      ),
      ordering.on(
        OrderPlaced,
        'second',
        (_, { tx }) => seen.push(`second saw ${tx.all('SELECT * FROM state').length}`),
        { phase: 'before-commit' },
      ),
    ])
    await context
      .transaction(({ raise, on }) => {
        on(OrderPlaced, () => seen.push('own'))
        raise(OrderPlaced, order('a'))
        raise(OrderPlaced, order('b'))
      })
      .catch(() => undefined)
    expect(seen.slice(0, 3)).toEqual(['first', 'second saw 1', 'own'])
  })

  test('a throw in a before-commit handler aborts the unit', async () => {
    const { path, context } = await openOrdering([
      ordering.on(OrderPlaced, 'abort', () => Promise.reject(new Error('not today')), { phase: 'before-commit' }),
    ])
    await expect(context.transaction(({ raise }) => raise(OrderPlaced, order('a')))).rejects.toThrow('not today')
    expect(logOf(path)).toEqual([])
  })

  test('what a before-commit handler raises is caused by its event and joins the same append', async () => {
    const { path, context } = await openOrdering([
      ordering.on(OrderPlaced, 'pay', ({ data }, { raise }) => raise(OrderPaid, data), { phase: 'before-commit' }),
    ])
    await context.transaction(({ raise }) => {
      raise(OrderPlaced, order('a'))
      raise(OrderCancelled, order('b'))
    })
    const [placed, cancelled, paid] = logOf(path)
    expect([placed?.type, cancelled?.type, paid?.type]).toEqual([
      'ordering.order-placed',
      'ordering.order-cancelled',
      'ordering.order-paid',
    ])
    expect(paid?.causation_id).toBe(placed?.id)
    expect(paid?.correlation_id).toBe(placed?.id)
    expect(paid?.hops).toBe(1)
    expect(cancelled?.correlation_id).toBe(placed?.id)
    expect(cancelled?.causation_id).toBeNull()
  })

  test('a cycle of before-commit handlers ends with an error that shows it, and nothing is stored', async () => {
    const { path, context } = await openOrdering([
      ordering.on(OrderPlaced, 'pay', ({ data }, { raise }) => raise(OrderPaid, data), { phase: 'before-commit' }),
      ordering.on(OrderPaid, 'place', ({ data }, { raise }) => raise(OrderPlaced, data), { phase: 'before-commit' }),
    ])
    await expect(context.transaction(({ raise }) => raise(OrderPlaced, order('a')))).rejects.toEqual(
      withCode('PABAL_RAISE_DEPTH', /16 rounds: .*ordering\.order-placed → ordering\.order-paid/),
    )
    expect(logOf(path)).toEqual([])
  })

  test('a chain as long as the limit is allowed', async () => {
    const path = `${await testFolder()}/ordering.db`
    const chain = ordering.on(
      OrderPlaced,
      'chain',
      ({ data }, { raise }) => {
        if (data.n > 1) raise(OrderPlaced, { ...data, n: data.n - 1 })
      },
      { phase: 'before-commit' },
    )
    const app = testApp([ordering.with({ store: sqlite(path), handlers: [chain] })], { limits: { raiseDepth: 5 } })
    await app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a', 5)))
    expect(logOf(path)).toHaveLength(5)
    await expect(app.context(ordering).transaction(({ raise }) => raise(OrderPlaced, order('a', 6)))).rejects.toEqual(
      withCode('PABAL_RAISE_DEPTH'),
    )
  })

  test('after-commit handlers run once after the commit with the sequence, and never after a rollback', async () => {
    const seen: Envelope[] = []
    const { path, context } = await openOrdering([
      ordering.on(
        OrderPlaced,
        'tell',
        (event) => {
          expect(logOf(path).some(({ id }) => id === event.id)).toBe(true)
          seen.push(event)
        },
        { phase: 'after-commit' },
      ),
    ])
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await context
      .transaction(({ raise }) => {
        raise(OrderPlaced, order('b'))
        throw new Error('no')
      })
      .catch(() => undefined)
    await eventually('the after-commit handler to have run', () => seen.length > 0)
    await quiet()
    expect(seen.map(({ key, sequence, source }) => [key, sequence, source])).toEqual([['a', 1, 'ordering']])
  })

  test('an after-commit handler that fails is reported and harms nobody', async () => {
    const seen: string[] = []
    const { app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'broken', () => Promise.reject(new Error('smtp down')), { phase: 'after-commit' }),
      ordering.on(OrderPlaced, 'sound', ({ key }) => seen.push(key), { phase: 'after-commit' }),
    ])
    await context.transaction(({ raise }) => raise(OrderPlaced, order('a')))
    await eventually('both to have run', () => seen.length === 1 && app.warnings.length === 1)
    expect(app.warnings[0]).toMatch(/'broken' of 'ordering'.*smtp down/)
  })
})

describe('listeners of one unit', () => {
  test('handle its events before COMMIT and are gone with it', async () => {
    const seen: string[] = []
    const { context } = await openOrdering()
    await context.transaction(({ raise, on }) => {
      on(OrderPlaced, ({ key }) => seen.push(key))
      raise(OrderPlaced, order('a'))
      raise(OrderPaid, order('x'))
    })
    await context.transaction(({ raise }) => raise(OrderPlaced, order('b')))
    expect(seen).toEqual(['a'])
  })

  test('one that throws aborts the unit', async () => {
    const { path, context } = await openOrdering()
    await expect(
      context.transaction(({ raise, on }) => {
        on(OrderPlaced, async () => {
          await quiet()
          throw new Error('no stock')
        })
        raise(OrderPlaced, order('a'))
      }),
    ).rejects.toThrow('no stock')
    expect(logOf(path)).toEqual([])
  })

  test('a listener of one event of a batch does not hear the next event of the batch', async () => {
    const heard: string[] = []
    const { app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'pay', ({ data, key }, { raise, on }) => {
        on(OrderPaid, (paid) => heard.push(`${key} heard ${paid.key}`))
        raise(OrderPaid, data)
      }),
    ])
    await context.transaction(({ raise }) => {
      for (const id of ['a', 'b', 'c']) raise(OrderPlaced, order(id))
    })
    await app.settle({ withinMs: 10_000 })
    expect(heard).toEqual(['a heard a', 'b heard b', 'c heard c'])
  })
})

describe('the ambient raise', () => {
  const place = (id: string) => raise(OrderPlaced, order(id))

  test('finds the unit around it, over awaits and nested transactions', async () => {
    const { path, context } = await openOrdering()
    await context.transaction(async () => {
      place('a')
      await quiet()
      place('b')
      await context.transaction(async () => {
        await quiet()
        place('c')
      })
      place('d')
    })
    expect(logOf(path).map(({ key }) => key)).toEqual(['a', 'b', 'c', 'd'])
  })

  test('fails outside of a unit and after its end', async () => {
    const { path, context } = await openOrdering()
    expect(() => place('a')).toThrow(withCode('PABAL_NO_UNIT_OF_WORK', /ordering/))
    const later = gate()
    let late: Promise<unknown> = Promise.resolve()
    await context.transaction(() => {
      late = later.opened.then(() => place('b'))
    })
    later.open()
    await expect(late).rejects.toEqual(withCode('PABAL_NO_UNIT_OF_WORK'))
    expect(logOf(path)).toEqual([])
  })

  test('finds the unit of the event’s own context among several', async () => {
    const folder = await testFolder()
    const app = testApp([
      ordering.with({ store: sqlite(`${folder}/ordering.db`) }),
      shipping.with({ store: sqlite(`${folder}/shipping.db`) }),
    ])
    await app.context(ordering).transaction(async () => {
      await app.context(shipping).transaction(() => {
        place('a')
        raise(ShipmentOpened, order('s'))
      })
      expect(() => raise(ShipmentOpened, order('late'))).toThrow(withCode('PABAL_NO_UNIT_OF_WORK', /shipping/))
    })
    expect(logOf(`${folder}/ordering.db`).map(({ key }) => key)).toEqual(['a'])
    expect(logOf(`${folder}/shipping.db`, 'shipping').map(({ key }) => key)).toEqual(['s'])
  })

  test('does not reach into a unit of another request', async () => {
    const { path, context } = await openOrdering()
    const holding = gate()
    const open = context.transaction(() => holding.opened)
    expect(() => place('stranger')).toThrow(withCode('PABAL_NO_UNIT_OF_WORK'))
    holding.open()
    await open
    expect(logOf(path)).toEqual([])
  })

  test('works in durable, before-commit and command handlers', async () => {
    const { path, app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'before', ({ data }) => raise(OrderPaid, data), { phase: 'before-commit' }),
      ordering.on(OrderPaid, 'durable', async ({ data }) => {
        await quiet()
        raise(OrderCancelled, data)
      }),
    ])
    await context.transaction(() => place('a'))
    await app.settle({ withinMs: 10_000 })
    expect(logOf(path).map(({ type }) => type)).toEqual([
      'ordering.order-placed',
      'ordering.order-paid',
      'ordering.order-cancelled',
    ])
  })

  test('an external handler is in no unit', async () => {
    const { path, app, context } = await openOrdering([
      ordering.on(OrderPlaced, 'call', ({ data }) => raise(OrderPaid, data), { effects: 'external', retry: 'none' }),
    ])
    await app.start()
    await context.transaction(async () => {
      place('a')
      await quiet()
    })
    await app.settle({ withinMs: 10_000 })
    expect(logOf(path)).toHaveLength(1)
  })
})

describe('nested transactions', () => {
  test('join the outer one and commit with it', async () => {
    const { path, context } = await openOrdering()
    await expect(
      context.transaction(async ({ raise }) => {
        raise(OrderPlaced, order('a'))
        await context.transaction((inner) => inner.raise(OrderPaid, order('a')))
        throw new Error('outer fails')
      }),
    ).rejects.toThrow('outer fails')
    expect(logOf(path)).toEqual([])
  })

  test('an inner failure that was caught dooms the outer one', async () => {
    const { path, context } = await openOrdering()
    const outer = context.transaction(async ({ tx, raise }) => {
      raise(OrderPlaced, order('a'))
      await context
        .transaction(() => {
          tx.run("INSERT INTO state VALUES ('half done')")
          throw new Error('inner')
        })
        .catch(() => undefined)
    })
    await expect(outer).rejects.toEqual(withCode('PABAL_ROLLED_BACK'))
    await expect(outer).rejects.toMatchObject({ cause: new Error('inner') })
    expect(logOf(path)).toEqual([])
  })

  test('of two contexts on one file commit together, each event in its own log', async () => {
    const path = `${await testFolder()}/shop.db`
    const store = sqlite(path)
    const app = testApp([ordering.with({ store }), shipping.with({ store: sqlite(path) })])
    await app.context(ordering).transaction(async ({ raise }) => {
      raise(OrderPlaced, order('a'))
      await app.context(shipping).transaction((unit) => unit.raise(ShipmentOpened, order('a')))
    })
    await app
      .context(ordering)
      .transaction(async () => {
        await app.context(shipping).transaction((unit) => unit.raise(ShipmentOpened, order('b')))
        throw new Error('no')
      })
      .catch(() => undefined)
    expect(logOf(path).map(({ key }) => key)).toEqual(['a'])
    expect(logOf(path, 'shipping').map(({ key }) => key)).toEqual(['a'])
  })

  test('an inner idempotency key is kept, too', async () => {
    const { path, context } = await openOrdering()
    const once = () =>
      context.transaction(() =>
        context.transaction(
          ({ raise }) => {
            raise(OrderPlaced, order('a'))
            return 'done'
          },
          { idempotencyKey: 'once' },
        ),
      )
    expect(await once()).toBe('done')
    expect(await once()).toBe('done')
    expect(logOf(path)).toHaveLength(1)
  })

  test('an unawaited inner transaction joins or begins its own, and is never half in', async () => {
    const { path, context } = await openOrdering()
    const later = gate()
    let inner: Promise<unknown> = Promise.resolve()
    await context.transaction(() => {
      inner = later.opened.then(() => context.transaction(({ raise }) => raise(OrderPlaced, order('own'))))
    })
    later.open()
    await inner
    expect(logOf(path).map(({ key }) => key)).toEqual(['own'])
  })
})

describe('one writer at a time', () => {
  test('a transaction whose function awaits lets no other code of the process slip in', async () => {
    const { context } = await openOrdering()
    const holding = gate()
    const slow = context.transaction(async ({ tx }) => {
      tx.run("INSERT INTO state VALUES ('slow')")
      await holding.opened
      return tx.all('SELECT * FROM state')
    })
    const quick = context.transaction(({ tx }) => tx.run("INSERT INTO state VALUES ('quick')"))
    await quiet()
    expect(await context.read(({ tx }) => tx.all('SELECT * FROM state'))).toEqual([])
    holding.open()
    expect(await slow).toEqual([{ id: 'slow' }])
    await quick
    expect(await context.read(({ tx }) => tx.all('SELECT * FROM state'))).toHaveLength(2)
  })
})

describe('messages', () => {
  const SendSms = defineMessage('notes.send-sms', { schema: z.object({ to: z.string() }) })
  const Noted = defineEvent('notes.noted', { schema: z.object({ id: z.string() }), key: ({ id }) => id })
  const notes = defineContext('notes', { store: sqlite, events: [Noted], messages: [SendSms] })

  test('are stored with the unit, and handled later', async () => {
    const path = `${await testFolder()}/notes.db`
    const sent: string[] = []
    const app = testApp([
      notes.with({
        store: sqlite(path),
        handlers: [notes.on(SendSms, 'sms', ({ data }) => sent.push(data.to), { effects: 'external' })],
      }),
    ])
    await app.start()
    await app.context(notes).transaction(({ raise, post }) => {
      raise(Noted, { id: '1' })
      post(SendSms, { to: 'with the unit' })
    })
    await app
      .context(notes)
      .transaction(({ post }) => {
        post(SendSms, { to: 'nobody' })
        throw new Error('no')
      })
      .catch(() => undefined)
    await app.post(SendSms, { to: 'from outside' })
    await app.settle({ withinMs: 10_000 })
    expect(sent.toSorted()).toEqual(['from outside', 'with the unit'])
    const rows = logOf(path, 'notes')
    expect(rows.map(({ key, id }) => key === id)).toEqual([false, true, true])
  })
})
