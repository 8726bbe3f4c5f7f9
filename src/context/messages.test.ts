/** One-way messages: stored with the unit that sends them, handled later. */

import { defineContext, defineEvent, defineMessage } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { testFolder } from '../../test/support/folder.ts'
import { logOf, testApp } from '../../test/support/shop.ts'

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
