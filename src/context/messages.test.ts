/** One-way messages: stored with the unit that sends them, handled later, by one handler of the context that they are named after. */

import { defineContext, defineEvent, defineMessage, definePublicEvent, publish } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { testFolder } from '../../test/support/folder.ts'
import { logOf, testApp, withCode } from '../../test/support/shop.ts'

const Sms = z.object({ to: z.string() })
const key = ({ to }: z.infer<typeof Sms>): string => to

describe('messages', () => {
  const SendSms = defineMessage('notes.send-sms', { schema: Sms })
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
    expect(rows.map(({ key: of, id }) => of === id)).toEqual([false, true, true])
  })
})

describe('messages to other contexts', () => {
  const SendSms = defineMessage('notification.send-sms', { schema: Sms, key })
  const Other = defineMessage('notification.send-letter', { schema: z.object({ address: z.string() }), key: () => 'x' })
  const Placed = defineEvent('ordering.placed', { schema: Sms, key })
  const PlacedV1 = definePublicEvent('shop.placed.v1', { kind: 'domain', schema: Sms, key })
  const options = { store: sqlite, events: [Placed] }
  const ordering = defineContext('ordering', { ...options, sends: [SendSms] })
  const silent = defineContext('ordering', options)
  const notification = defineContext('notification', { store: sqlite, events: [], messages: [SendSms] })
  const invalid = (message: RegExp) => withCode('PABAL_DEFINITION_INVALID', message)

  test.each([
    ['without a key', defineMessage('notification.ring', { schema: Sms }), /notification\.ring.*no key/],
    ['of its own', defineMessage('ordering.remind', { schema: Sms, key }), /ordering\.remind to itself/],
    ['that is an event', Placed as never, /ordering\.placed.*not a message/],
  ])('a context cannot send one %s', (_, message, reason) => {
    expect(() => defineContext('ordering', { ...options, sends: [message] })).toThrow(invalid(reason))
  })

  test('a context cannot send one twice, nor publish one as an event', () => {
    expect(() => defineContext('ordering', { ...options, sends: [SendSms, SendSms] })).toThrow(invalid(/twice/))
    const published = publish(Placed, SendSms as never, ({ data }) => data as never)
    expect(() => defineContext('ordering', { ...options, publishes: [published] })).toThrow(
      invalid(/notification\.send-sms is not a public event/),
    )
  })

  test('they are handled durably, with `on`, by the context that they are named after', () => {
    expect(() => ordering.on(SendSms as never, 'sms', () => 0)).toThrow(invalid(/another context/))
    expect(() => notification.consume(SendSms as never, 'sms', () => 0)).toThrow(invalid(/not a public event/))
    const beforeCommit = { phase: 'before-commit' } as never
    expect(() => notification.on(SendSms, 'sms', () => 0, beforeCommit)).toThrow(invalid(/handled durably/))
  })

  test('one that is not declared is not posted', async () => {
    const app = testApp([silent.with({ store: sqlite(`${await testFolder()}/ordering.db`) })])
    const posting = app.context(silent).transaction(({ post }) => post(SendSms as never, { to: 'a' } as never))
    await expect(posting).rejects.toThrow(withCode('PABAL_UNKNOWN_EVENT_TYPE', /notification\.send-sms/))
  })

  /** Each statement must not compile; none is run. */
  const refusals = async (): Promise<unknown> => {
    const app = testApp([])
    const unit = app.context(ordering)
    await unit.transaction(({ post }) => post(SendSms, { to: 'a' }))
    // @ts-expect-error a wrong payload
    await unit.transaction(({ post }) => post(SendSms, { to: 1 }))
    // @ts-expect-error a message that the context does not send
    await unit.transaction(({ post }) => post(Other, { address: 'x' }))
    // @ts-expect-error the same where it sends none at all
    await app.context(silent).transaction(({ post }) => post(SendSms, { to: 'a' }))
    // @ts-expect-error a message raised as an event
    await unit.transaction(({ raise }) => raise(SendSms, { to: 'a' }))
    // @ts-expect-error an event posted as a message
    await unit.transaction(({ post }) => post(Placed, { to: 'a' }))
    // @ts-expect-error an event among what is sent
    defineContext('ordering', { ...options, sends: [Placed] })
    // @ts-expect-error a public event among what is sent
    defineContext('ordering', { ...options, sends: [PlacedV1] })
    // @ts-expect-error a message published as an event
    publish(Placed, SendSms, ({ data }) => data)
    // @ts-expect-error a message that is another context's
    ordering.on(SendSms, 'a', () => 0)
    // @ts-expect-error a message consumed as an event
    notification.consume(SendSms, 'b', () => 0)
    // @ts-expect-error a message before commit
    notification.on(SendSms, 'c', () => 0, { phase: 'before-commit' })
    const typed = defineContext('notification', {
      store: sqlite,
      events: [],
      messages: [SendSms],
      metadata: z.object({ actor: z.string() }),
    })
    // @ts-expect-error metadata of a message that another context may have sent
    return typed.on(SendSms, 'd', ({ metadata }) => metadata.actor)
  }
  void refusals
})
