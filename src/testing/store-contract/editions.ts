/** Versions of a handler side by side: whose work it is while some processes want more than others. */

import assert from 'node:assert/strict'
import { claim, create, cursorOf, id, longMs, moving, place } from './cursors.ts'
import { type Process, rule, type StoreRule } from './fixture.ts'

const join = ({ write, editions }: Process, wants: string, of = id) =>
  write((session) => editions.join(session, of, wants))
const leave = ({ write, editions }: Process) => write((session) => editions.leave(session, id))
const isSuperseded = ({ write, editions }: Process, edition: number) =>
  write((session) => editions.isSuperseded(session, id, edition))
const wanted = async ({ write, editions }: Process, source = id.source) =>
  (await write((session) => editions.wanted(session, source))).toSorted()

export const editionRules: readonly StoreRule[] = [
  rule('an edition keeps its number, whoever joins it and how often', async (process, another) => {
    const other = await another()
    assert.equal(await join(process, 'few'), 1)
    assert.equal(await join(process, 'few'), 1)
    assert.equal(await join(other, 'more'), 2)
    assert.equal(await join(other, 'few'), 1)
    await leave(process)
    await leave(other)
    assert.equal(await join(process, 'more'), 2)
    assert.equal(await join(process, 'few', { ...id, source: 'billing' }), 1)
  }),

  rule(
    'the first of a newer edition has the lanes of those that run an older one taken away',
    async (process, another) => {
      const other = await another()
      await create(process)
      await join(process, 'few')
      await claim(process)
      assert.equal(await isSuperseded(process, 1), false)
      await join(other, 'more')
      assert.equal(await isSuperseded(process, 1), true)
      assert.equal(await moving(process, 1, place(1)), undefined)
      assert.equal((await cursorOf(process)).owner, null)
      assert.ok((await claim(other)) !== undefined)
    },
    'P1',
  ),

  rule(
    'where effects are outside such a lane is fenced, and stays with its owner until that has given it back',
    async (process, another) => {
      const other = await another()
      const { consumer: name } = id
      await process.write((session) =>
        process.cursors.register(session, { name, effects: 'external', lanes: 1, types: [] }),
      )
      await create(process)
      await join(process, 'few')
      await claim(process)
      await join(other, 'more')
      assert.equal(await moving(process, 1, place(1)), undefined)
      assert.equal(await claim(other), undefined)
      const { epoch } = (await claim(process))!
      await process.write((session) => process.cursors.release(session, id, epoch))
      assert.ok((await claim(other)) !== undefined)
    },
    'P4',
  ),

  rule('whoever joins the edition that runs takes nothing away', async (process, another) => {
    const other = await another()
    await create(process)
    await join(process, 'few')
    await claim(process)
    await join(other, 'few')
    assert.equal(await isSuperseded(process, 1), false)
    assert.deepEqual(await moving(process, 1, place(1)), [])
  }),

  rule(
    'an older edition that joins is superseded, and takes nothing away, until the newer one has left',
    async (process, another) => {
      const [older, again] = [await another(), await another()]
      await create(process)
      await join(older, 'few')
      await join(process, 'more')
      await claim(process, longMs)
      assert.equal(await join(again, 'few'), 1)
      assert.deepEqual(await Promise.all([older, again].map((each) => isSuperseded(each, 1))), [true, true])
      assert.equal(await isSuperseded(process, 2), false)
      assert.deepEqual(await moving(process, 1, place(1)), [])
      await leave(process)
      assert.equal(await isSuperseded(older, 1), false)
    },
    'P1',
  ),

  rule('what is wanted of a source is what those want who are there', async (process, another) => {
    const other = await another()
    await join(process, 'few')
    await join(other, 'more')
    await join(other, 'else', { ...id, source: 'billing' })
    assert.deepEqual(await wanted(process), ['few', 'more'])
    assert.deepEqual(await wanted(process, 'billing'), ['else'])
    const running = await process.read((session) => process.editions.running(session))
    assert.deepEqual(running.map(({ source, edition, processes }) => `${source} ${edition}: ${processes}`).toSorted(), [
      'billing 1: 1',
      'ordering 1: 1',
      'ordering 2: 1',
    ])
    await leave(other)
    assert.deepEqual(await wanted(process), ['few'])
    await process.write((session) => process.cursors.remove(session, id.consumer))
    assert.deepEqual(await wanted(process), [])
  }),
]
