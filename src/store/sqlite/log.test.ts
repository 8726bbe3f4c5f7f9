import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { testFolder } from '../../../test/support/folder.ts'
import { openSqlite } from '../../../test/support/sqlite.ts'
import { append, cancelled, ids, paid, placed, raised } from '../../testing/store-contract/fixture.ts'

test('a rare type is found behind more events than one read looks at', async () => {
  const open = await openSqlite(':memory:')
  const between = 45_000
  const rare = () => raised({ type: cancelled, key: 'rare' })
  const [first] = await append(open, rare())
  await append(
    open,
    ...Array.from({ length: between }, (_, n) => raised({ type: n % 2 === 0 ? placed : paid, key: `${n % 100}` })),
  )
  const [second] = await append(open, rare())
  const reads: { found: string[]; through: number }[] = []
  for (let after = 0; after < second!.position; ) {
    const read = await open.read((session) => open.log.readAfter(session, { after, types: [cancelled], limit: 10 }))
    expect(read.through).toBeGreaterThan(after)
    reads.push({ found: ids(read.events), through: read.through })
    after = read.through
  }
  expect(reads.flatMap(({ found }) => found)).toEqual([first!.id, second!.id])
  // In more than one step, so that the event loop has its turn between them.
  expect(reads.length).toBeGreaterThan(1)
  expect(reads.at(-1)!.through).toBe(between + 2)
})

test('an id is stored once', async () => {
  const open = await openSqlite(':memory:')
  const event = raised()
  await append(open, event)
  await expect(append(open, event)).rejects.toThrow('UNIQUE')
  expect((await open.read((session) => open.log.head(session))).position).toBe(1)
})

test('a position is never used again, even when retention has emptied the table and the file was opened anew', async () => {
  const path = join(await testFolder(), 'shop.db')
  const open = await openSqlite(path)
  await append(open, raised({ key: 'a' }), raised({ key: 'a' }), raised({ key: 'b' }))
  await open.write((session) => open.log.dropThrough(session, 3))
  await open.database.close()
  const again = await openSqlite(path)
  const [next] = await append(again, raised({ key: 'a' }))
  expect([next!.position, next!.sequence]).toEqual([4, 3])
})

test('thousands of events of many keys are appended in one unit', async () => {
  const open = await openSqlite(':memory:')
  const events = Array.from({ length: 5_000 }, (_, n) => raised({ key: `주문-${n % 1_234}` }))
  await append(open, ...events.slice(0, 777))
  await append(open, ...events.slice(777))
  const { events: stored } = await open.read((session) => open.log.readAfter(session, { after: 0, limit: 10_000 }))
  expect(ids(stored)).toEqual(ids(events))
  expect(stored.map(({ position, sequence }) => [position, sequence])).toEqual(
    events.map(({ position, sequence }) => [position, sequence]),
  )
  expect(stored.map(({ position }) => position)).toEqual(events.map((_, n) => n + 1))
  expect(stored.map(({ sequence }) => sequence)).toEqual(events.map((_, n) => 1 + Math.floor(n / 1_234)))
})

test('the tables take nothing but what belongs into their columns', async () => {
  const path = join(await testFolder(), 'shop.db')
  const open = await openSqlite(path)
  await append(open, raised())
  await open.database.close()
  const db = new DatabaseSync(path)
  const loose = db.prepare("SELECT name FROM pragma_table_list WHERE name LIKE 'pabal_%' AND strict = 0").all()
  expect(loose).toEqual([])
  expect(() => db.exec("UPDATE pabal_ordering_event SET position = 'first'")).toThrow(/datatype mismatch|cannot store/)
  db.close()
})
