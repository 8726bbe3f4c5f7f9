/** Commands: answered in a unit of work, refused with a typed refusal, and given the same answer for the same idempotency key. */

import { defineCommand, defineContext, defineEvent } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { quiet } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import {
  logOf,
  order,
  ordering,
  OrderPaid,
  OrderPlaced,
  PlaceOrder,
  rowsOf,
  testApp,
  withCode,
} from '../../test/support/shop.ts'

const tables = (tx: { run(sql: string): unknown }) => tx.run('CREATE TABLE IF NOT EXISTS state (id TEXT)')
const statesOf = (path: string) =>
  rowsOf<{ id: string }>(path, 'SELECT id FROM state ORDER BY rowid').map(({ id }) => id)

const openOrdering = async (handlers: Parameters<typeof ordering.with>[0]['handlers'] = []) => {
  const path = `${await testFolder()}/ordering.db`
  const runs: string[] = []
  const place = ordering.handle(PlaceOrder, ({ data }, { tx, raise, refuse }) => {
    runs.push(data.orderId)
    tx.run('INSERT INTO state VALUES (?)', data.orderId)
    raise(OrderPlaced, data)
    if (data.n > 100) throw refuse('over-limit', { limit: 100 })
  })
  const app = testApp([ordering.with({ store: sqlite(path), handlers: [place, ...handlers], prepare: tables })])
  return { path, app, runs, context: app.context(ordering) }
}

describe('a command', () => {
  test('commits state and events together', async () => {
    const { path, app } = await openOrdering()
    expect(await app.send(PlaceOrder, order('a'))).toEqual({ ok: true })
    expect(statesOf(path)).toEqual(['a'])
    expect(logOf(path).map(({ key }) => key)).toEqual(['a'])
  })

  test('that is refused leaves nothing behind and answers with the detail', async () => {
    const { path, app } = await openOrdering()
    const answer = await app.send(PlaceOrder, order('a', 101))
    expect(answer).toEqual({ ok: false, refusal: { code: 'over-limit', detail: { limit: 100 } } })
    expect(statesOf(path)).toEqual([])
    expect(logOf(path)).toEqual([])
  })

  test('is the cause of what its handler raises', async () => {
    const { path, app } = await openOrdering([
      ordering.on(OrderPlaced, 'pay', ({ data }, { raise }) => raise(OrderPaid, data), { phase: 'before-commit' }),
    ])
    await app.send(PlaceOrder, order('a'), { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' })
    const [placed, paid] = logOf(path)
    expect(placed?.causation_id).toMatch(/^[0-9a-f-]{36}$/)
    expect(placed?.correlation_id).toBe(placed?.causation_id)
    expect(paid?.causation_id).toBe(placed?.id)
    expect(paid?.correlation_id).toBe(placed?.correlation_id)
    expect(rowsOf(path, 'SELECT DISTINCT traceparent FROM pabal_ordering_event')).toHaveLength(1)
  })

  test('with a payload that does not fit is refused before anything runs', async () => {
    const { app, runs } = await openOrdering()
    // @ts-expect-error n must be a number
    await expect(app.send(PlaceOrder, { orderId: 'a', n: 'x' })).rejects.toEqual(withCode('PABAL_PAYLOAD_INVALID'))
    expect(runs).toEqual([])
  })

  test('without a handler in the app is refused', async () => {
    const { app } = await openOrdering()
    const Unheard = defineCommand('ordering.unheard', { schema: z.object({}) })
    await expect(app.send(Unheard, {})).rejects.toEqual(withCode('PABAL_NO_HANDLER', /ordering\.unheard/))
  })

  test('a refusal with a detail that does not fit its schema is an error, not a refusal', async () => {
    const path = `${await testFolder()}/ordering.db`
    const app = testApp([
      ordering.with({
        store: sqlite(path),
        prepare: tables,
        handlers: [
          ordering.handle(PlaceOrder, (_, { refuse }) => {
            // @ts-expect-error limit must be a number
            throw refuse('over-limit', { limit: 'much' })
          }),
        ],
      }),
    ])
    await expect(app.send(PlaceOrder, order('a'))).rejects.toEqual(withCode('PABAL_PAYLOAD_INVALID', /over-limit/))
  })
})

describe('a command inside a unit', () => {
  test('that is refused undoes only its own part', async () => {
    const { path, app, context } = await openOrdering()
    const answers = await context.transaction(async ({ tx, raise }) => {
      tx.run("INSERT INTO state VALUES ('before')")
      raise(OrderPaid, order('before'))
      const refused = await app.send(PlaceOrder, order('refused', 101))
      const accepted = await app.send(PlaceOrder, order('accepted'))
      tx.run("INSERT INTO state VALUES ('after')")
      raise(OrderPaid, order('after'))
      return [refused.ok, accepted.ok]
    })
    expect(answers).toEqual([false, true])
    expect(statesOf(path)).toEqual(['before', 'accepted', 'after'])
    expect(logOf(path).map(({ key, sequence }) => `${key} ${sequence}`)).toEqual(['before 1', 'accepted 1', 'after 1'])
  })

  test('is rolled back with it', async () => {
    const { path, app, context } = await openOrdering()
    await context
      .transaction(async () => {
        await app.send(PlaceOrder, order('a'))
        throw new Error('outer')
      })
      .catch(() => undefined)
    expect(statesOf(path)).toEqual([])
    expect(logOf(path)).toEqual([])
  })

  test('causes only what its own handler raises, within the correlation of the unit', async () => {
    const { path, app, context } = await openOrdering()
    await context.transaction(async ({ raise }) => {
      raise(OrderPaid, order('before'))
      await app.send(PlaceOrder, order('by command'))
      raise(OrderPaid, order('after'))
    })
    const [before, command, after] = logOf(path)
    expect([before?.key, command?.key, after?.key]).toEqual(['before', 'by command', 'after'])
    expect(before?.causation_id).toBeNull()
    expect(after?.causation_id).toBeNull()
    expect(command?.causation_id).not.toBeNull()
    expect([command?.correlation_id, after?.correlation_id]).toEqual([before?.id, before?.id])
  })

  test('from a durable handler belongs to the chain of the event', async () => {
    const { path, app, context } = await openOrdering([
      ordering.on(OrderPaid, 'place-again', async ({ data }) => {
        await app.send(PlaceOrder, data)
      }),
    ])
    await context.transaction(({ raise }) => raise(OrderPaid, order('a')))
    await app.settle({ withinMs: 10_000 })
    const [paid, placed] = logOf(path)
    expect(placed?.correlation_id).toBe(paid?.id)
    expect(placed?.hops).toBeGreaterThan(0)
  })

  test('a loop of events over commands meets the hop limit', async () => {
    const path = `${await testFolder()}/ordering.db`
    const place = ordering.handle(PlaceOrder, ({ data }, { raise }) => raise(OrderPlaced, data))
    const again = ordering.on(OrderPlaced, 'again', async ({ data }) => void (await app.send(PlaceOrder, data)), {
      retry: 'none',
    })
    const app = testApp([ordering.with({ store: sqlite(path), handlers: [place, again] })], { limits: { hops: 8 } })
    await app.send(PlaceOrder, order('a'))
    await app.settle({ withinMs: 3_000 })
    expect(logOf(path).length).toBeLessThan(10)
    expect(rowsOf<{ error: string }>(path, 'SELECT error FROM pabal_ordering_parked')[0]?.error).toContain(
      'PABAL_HOP_LIMIT',
    )
  })

  test('a listener that a refused command has set is gone with it', async () => {
    const path = `${await testFolder()}/ordering.db`
    const heard: string[] = []
    const place = ordering.handle(PlaceOrder, ({ data }, { on, refuse }) => {
      on(OrderPaid, ({ key }) => heard.push(`${data.orderId} heard ${key}`))
      if (data.n > 100) throw refuse('over-limit', { limit: 100 })
    })
    const app = testApp([ordering.with({ store: sqlite(path), handlers: [place] })])
    await app.context(ordering).transaction(async ({ raise }) => {
      await app.send(PlaceOrder, order('refused', 101))
      await app.send(PlaceOrder, order('accepted'))
      raise(OrderPaid, order('x'))
    })
    expect(heard).toEqual(['accepted heard x'])
  })

  test.each([
    [0, 0],
    [0, 3],
    [3, 0],
    [2, 3],
  ])(
    'two at once (after %d and %d turns) are answered truly: what was accepted is there, what was refused is not',
    async (refusedTurns, acceptedTurns) => {
      const path = `${await testFolder()}/ordering.db`
      const place = ordering.handle(PlaceOrder, async ({ data }, { tx, raise, refuse }) => {
        tx.run('INSERT INTO state VALUES (?)', data.orderId)
        raise(OrderPlaced, data)
        for (let turn = 0; turn < (data.n > 100 ? refusedTurns : acceptedTurns); turn++) await quiet()
        if (data.n > 100) throw refuse('over-limit', { limit: 100 })
      })
      const app = testApp([ordering.with({ store: sqlite(path), handlers: [place], prepare: tables })])
      const answers = await app.context(ordering).transaction(async ({ raise }) => {
        raise(OrderPaid, order('own'))
        return Promise.all([app.send(PlaceOrder, order('refused', 101)), app.send(PlaceOrder, order('accepted'))])
      })
      expect(answers.map(({ ok }) => ok)).toEqual([false, true])
      expect(statesOf(path)).toEqual(['accepted'])
      expect(logOf(path).map(({ key }) => key)).toEqual(['own', 'accepted'])
    },
  )

  test('an inner failure that was undone with its command does not doom the unit', async () => {
    const path = `${await testFolder()}/ordering.db`
    const place = ordering.handle(PlaceOrder, async ({ data }, { refuse }) => {
      try {
        await app.context(ordering).transaction(() => {
          throw new Error('no stock')
        })
      } catch {
        throw refuse('over-limit', { limit: data.n })
      }
    })
    const app = testApp([ordering.with({ store: sqlite(path), handlers: [place] })])
    const answer = await app.context(ordering).transaction(async ({ raise }) => {
      raise(OrderPaid, order('a'))
      return app.send(PlaceOrder, order('a'))
    })
    expect(answer).toMatchObject({ ok: false })
    expect(logOf(path)).toHaveLength(1)
  })
})

describe('an idempotency key', () => {
  test('that comes again runs nothing and gives the recorded answer', async () => {
    const { path, app, runs } = await openOrdering()
    const send = () => app.send(PlaceOrder, order('a'), { idempotencyKey: 'req-1' })
    expect([await send(), await send()]).toEqual([{ ok: true }, { ok: true }])
    expect(runs).toEqual(['a'])
    expect(logOf(path)).toHaveLength(1)
  })

  test('keeps a refusal, too', async () => {
    const { path, app, runs } = await openOrdering()
    const send = () => app.send(PlaceOrder, order('a', 101), { idempotencyKey: 'req-1' })
    const refused = { ok: false, refusal: { code: 'over-limit', detail: { limit: 100 } } }
    expect([await send(), await send()]).toEqual([refused, refused])
    expect(runs).toEqual(['a'])
    expect(statesOf(path)).toEqual([])
    expect(logOf(path)).toEqual([])
  })

  test('of a unit that threw is free: the next try runs', async () => {
    const { context } = await openOrdering()
    let tries = 0
    const run = () =>
      context.transaction(
        () => {
          if (++tries === 1) throw new Error('timeout')
          return tries
        },
        { idempotencyKey: 'k' },
      )
    await expect(run()).rejects.toThrow('timeout')
    expect([await run(), await run()]).toEqual([2, 2])
  })

  test('that comes at once from everywhere runs once', async () => {
    const { path, app, runs } = await openOrdering()
    const store = sqlite(path)
    const other = testApp([
      ordering.with({
        store,
        handlers: [ordering.handle(PlaceOrder, ({ data }, { raise }) => raise(OrderPlaced, data))],
        prepare: tables,
      }),
    ])
    await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        (i % 2 === 0 ? app : other).send(PlaceOrder, order('a'), { idempotencyKey: 'req-1' }),
      ),
    )
    expect(logOf(path)).toHaveLength(1)
    expect(runs.length).toBeLessThanOrEqual(1)
  })

  test('belongs to one command', async () => {
    const { app, context } = await openOrdering()
    await app.send(PlaceOrder, order('a'), { idempotencyKey: 'req-1' })
    await expect(context.transaction(() => 1, { idempotencyKey: 'req-1' })).rejects.toEqual(
      withCode('PABAL_IDEMPOTENCY_KEY_REUSED', /req-1.*ordering\.place-order/),
    )
  })

  test('of a command inside a unit is kept with the unit', async () => {
    const { path, app, context, runs } = await openOrdering()
    const inside = (fails = false) =>
      context.transaction(async () => {
        const answer = await app.send(PlaceOrder, order('a'), { idempotencyKey: 'req-1' })
        if (fails) throw new Error('outer')
        return answer
      })
    await expect(inside(true)).rejects.toThrow('outer')
    expect([await inside(), await inside()]).toEqual([{ ok: true }, { ok: true }])
    expect(runs).toEqual(['a', 'a'])
    expect(logOf(path)).toHaveLength(1)
  })

  test('gives the same value again that it gave first', async () => {
    const { context } = await openOrdering()
    const values = [undefined, null, 'text', '', 0, [1, { a: 'b' }], { a: null }]
    for (const [index, value] of values.entries()) {
      const run = () => context.transaction(() => value, { idempotencyKey: `k${index}` })
      expect([await run(), await run()]).toEqual([value, value])
    }
  })

  test.each([
    ['a function', () => () => 0],
    [
      'a cycle',
      () => {
        const a: Record<string, unknown> = {}
        a['a'] = a
        return a
      },
    ],
    ['a big integer', () => 1n],
    ['a date', () => new Date(0)],
    ['a map', () => new Map([[1, 2]])],
    ['not a number', () => Number.NaN],
  ])('refuses a result that JSON cannot carry unchanged: %s', async (_, value) => {
    const { path, context } = await openOrdering()
    const run = () =>
      context.transaction(
        ({ raise }) => {
          raise(OrderPlaced, order('a'))
          return value()
        },
        { idempotencyKey: 'k' },
      )
    await expect(run()).rejects.toEqual(withCode('PABAL_RESULT_NOT_JSON'))
    expect(logOf(path)).toEqual([])
  })
})

describe('common metadata', () => {
  const Noted = defineEvent('notes.noted', { schema: z.object({ id: z.string() }), key: ({ id }) => id })
  const Filed = defineEvent('notes.filed', { schema: z.object({ id: z.string() }), key: ({ id }) => id })
  const Note = defineCommand('notes.note', { schema: z.object({ id: z.string() }) })
  const Meta = z.object({ actor: z.string(), tenant: z.string().default('acme') })
  const notes = defineContext('notes', { store: sqlite, events: [Noted, Filed], metadata: Meta })
  const metadataOf = (path: string) =>
    rowsOf<{ metadata: string }>(path, 'SELECT metadata FROM pabal_notes_event ORDER BY position').map(
      ({ metadata }) => JSON.parse(metadata) as unknown,
    )

  const openNotes = async () => {
    const path = `${await testFolder()}/notes.db`
    const seen: string[] = []
    const app = testApp([
      notes.with({
        store: sqlite(path),
        handlers: [
          notes.handle(Note, ({ data }, { raise, metadata }) => {
            seen.push(metadata.actor)
            raise(Noted, data)
          }),
          notes.on(Noted, 'file', ({ data, metadata }, unit) => {
            seen.push(`${metadata.actor}/${unit.metadata.actor}`)
            unit.raise(Filed, data)
          }),
        ],
      }),
    ])
    return { path, app, seen }
  }

  test('is validated, typed, stored with every event and inherited by what follows', async () => {
    const { path, app, seen } = await openNotes()
    await app.send(Note, { id: '1' }, { metadata: { actor: 'kim' } })
    await app
      .context(notes)
      .transaction(({ raise }) => raise(Noted, { id: '2' }), { metadata: { actor: 'lee', tenant: 'b' } })
    await app.settle({ withinMs: 10_000 })
    expect(metadataOf(path)).toEqual([
      { actor: 'kim', tenant: 'acme' },
      { actor: 'lee', tenant: 'b' },
      { actor: 'kim', tenant: 'acme' },
      { actor: 'lee', tenant: 'b' },
    ])
    expect(seen).toEqual(['kim', 'kim/kim', 'lee/lee'])
  })

  test('that is missing or wrong refuses the unit', async () => {
    const { path, app } = await openNotes()
    const context = app.context(notes)
    await expect(context.transaction(({ raise }) => raise(Noted, { id: '1' }))).rejects.toEqual(
      withCode('PABAL_METADATA_INVALID'),
    )
    await expect(
      // @ts-expect-error actor must be a string
      context.transaction(({ raise }) => raise(Noted, { id: '1' }), { metadata: { actor: 1 } }),
    ).rejects.toEqual(withCode('PABAL_METADATA_INVALID'))
    expect(rowsOf(path, 'SELECT * FROM pabal_notes_event')).toEqual([])
  })

  test('of a nested unit is its own', async () => {
    const { path, app } = await openNotes()
    const context = app.context(notes)
    await context.transaction(
      async ({ raise }) => {
        await context.transaction((inner) => inner.raise(Noted, { id: 'inner' }), {
          metadata: { actor: 'inner', tenant: 't' },
        })
        raise(Noted, { id: 'outer' })
      },
      { metadata: { actor: 'outer', tenant: 't' } },
    )
    expect(metadataOf(path)).toEqual([
      { actor: 'inner', tenant: 't' },
      { actor: 'outer', tenant: 't' },
    ])
  })
})
