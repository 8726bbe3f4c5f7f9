import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { type Child, startChild } from '../../../test/support/child.ts'
import { eventually } from '../../../test/support/eventually.ts'
import { testFolder } from '../../../test/support/folder.ts'
import { type OpenSqlite, openSqlite } from '../../../test/support/sqlite.ts'
import type { StoredEvent } from '../../event/envelope.ts'

const startWriter = (path: string, name: string, units?: number): Child =>
  startChild({ file: 'test/support/log-writer.ts' }, path, name, ...(units === undefined ? [] : [String(units)]))
/** The ids of the units whose commit the writer has told of. */
const acknowledged = (writer: Child): string[] =>
  writer.lines.filter((line) => line.startsWith('[')).flatMap((line) => JSON.parse(line) as string[])
const units = (writer: Child): number => writer.lines.length

const all = async ({ read, log }: OpenSqlite): Promise<readonly StoredEvent[]> =>
  read(async (session) => (await log.readAfter(session, { after: 0, limit: 1_000_000 })).events)

/** The log as it has to be, whatever happened to those who wrote it. */
const check = async (open: OpenSqlite, promised: readonly string[]): Promise<void> => {
  const events = await all(open)
  const stored = new Set(events.map(({ id }) => id))
  expect(
    promised.filter((id) => !stored.has(id)),
    'acknowledged, and not there',
  ).toEqual([])
  expect(events.map(({ position }) => position)).toEqual(events.map((_, n) => n + 1))
  const sequences = new Map<string, number>()
  for (const { key, sequence } of events) {
    expect(sequence).toBe((sequences.get(key) ?? 0) + 1)
    sequences.set(key, sequence)
  }
  // Written beside each event, in the same transaction: the one is there if and only if the other is (P1).
  const states = await open.read((session) => open.tx(session).all<{ event_id: string }>('SELECT event_id FROM state'))
  expect(states.map(({ event_id }) => event_id).toSorted()).toEqual([...stored].toSorted())
  expect((await open.database.diagnose()).filter(({ level }) => level === 'problem')).toEqual([])
}

describe('several processes on one file', () => {
  test('create it at once, and append side by side', async () => {
    const path = join(await testFolder(), 'data', 'shop.db')
    const writers = ['a', 'b', 'c'].map((name) => startWriter(path, name, 60))
    expect(await Promise.all(writers.map(({ ended }) => ended))).toEqual([0, 0, 0])
    const open = await openSqlite(path)
    await check(open, writers.flatMap(acknowledged))
    expect(await all(open)).toHaveLength(3 * 120)
  })

  test('have one incarnation', async () => {
    const path = join(await testFolder(), 'shop.db')
    const opened = await Promise.all(Array.from({ length: 8 }, () => openSqlite(path)))
    const heads = await Promise.all(opened.map(({ read, log }) => read((session) => log.head(session))))
    expect(new Set(heads.map(({ incarnation }) => incarnation)).size).toBe(1)
  })

  test('are killed at any moment, and nothing that was acknowledged is lost', async () => {
    const path = join(await testFolder(), 'shop.db')
    const writers: Child[] = []
    for (let round = 0; round < 6; round++) {
      const [victim, other] = [startWriter(path, `victim-${round}`), startWriter(path, `other-${round}`)]
      writers.push(victim, other)
      // Each round at another moment of its work; the other goes on beside, and over, what the killed one left.
      await eventually('the victim has written', () => units(victim) > 1 + 7 * round)
      await victim.kill()
      const before = units(other)
      await eventually('the other goes on', () => units(other) > before + 5)
      await other.kill()
    }
    const promised = writers.flatMap(acknowledged)
    expect(promised.length).toBeGreaterThan(100)
    const open = await openSqlite(path)
    await check(open, promised)
    // Of each writer at most the one unit is there that it was killed in before it could tell.
    const untold = (await all(open)).length - promised.length
    expect(untold).toBeLessThanOrEqual(3 * writers.length)
  })

  test('leave a write-ahead log behind when killed, and it counts', async () => {
    const path = join(await testFolder(), 'shop.db')
    const writer = startWriter(path, 'a')
    await eventually('it has written', () => units(writer) > 5)
    await writer.kill()
    expect(existsSync(`${path}-wal`)).toBe(true)
    await check(await openSqlite(path), acknowledged(writer))
  })
})

test('the lease of a process that was killed is free at once', async () => {
  const path = join(await testFolder(), 'shop.db')
  const open = await openSqlite(path)
  const id = { consumer: 'order-list', source: 'ordering', lane: 0 }
  await open.write((session) => open.cursors.create(session, id, { position: 0, eventId: null, incarnation: 'one' }))
  const owner = startChild(
    {
      text: `
        import { systemEnvironment } from 'pabal'
        import { sqlite } from 'pabal/sqlite'
        const database = await sqlite(process.argv[1]).database.open(systemEnvironment)
        const { cursors } = await database.context('ordering')
        const id = { consumer: 'order-list', source: 'ordering', lane: 0 }
        const claimed = await database.transaction((session) => cursors.claim(session, id, 3_600_000))
        console.log(claimed.epoch === 1 ? 'claimed' : 'not claimed')
        process.stdin.resume()`,
    },
    path,
  )
  await owner.said('claimed')
  const claim = () => open.write((session) => open.cursors.claim(session, id, 1_000))
  expect(await claim()).toBeUndefined()
  await owner.kill()
  expect((await claim())?.epoch).toBe(2)
})

test('waiting for another process does not let a process end before its work is done', async () => {
  const path = join(await testFolder(), 'shop.db')
  await openSqlite(path)
  const db = new DatabaseSync(path)
  db.exec('BEGIN IMMEDIATE')
  const waiting = startChild(
    {
      text: `
        import { systemEnvironment } from 'pabal'
        import { sqlite } from 'pabal/sqlite'
        const database = await sqlite(process.argv[1]).database.open(systemEnvironment)
        console.log('waiting')
        console.log(await database.transaction(() => 'done'))
        await database.close()`,
    },
    path,
  )
  await waiting.said('waiting')
  db.exec('COMMIT')
  db.close()
  expect(await waiting.ended).toBe(0)
  expect(waiting.lines.at(-1)).toBe('done')
})
