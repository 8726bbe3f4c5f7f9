import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { startChild } from '../../../test/support/child.ts'
import { testFolder } from '../../../test/support/folder.ts'
import { type OpenSqlite, openSqlite } from '../../../test/support/sqlite.ts'
import type { StoredEvent } from '../../event/envelope.ts'
import { append, ids, processOn, raised, Undo } from '../../testing/store-contract/fixture.ts'
import { sqlite } from './index.ts'

const all = async ({ read, log }: OpenSqlite): Promise<readonly StoredEvent[]> =>
  read(async (session) => (await log.readAfter(session, { after: 0, limit: 100_000 })).events)
const headOf = ({ read, log }: OpenSqlite) => read((session) => log.head(session))
const id = { consumer: 'order-list', source: 'ordering', lane: 0 }

/** A file with two events, a backup of it, and a third event that the backup does not have. */
const backedUp = async () => {
  const folder = await testFolder()
  const [path, backup] = [join(folder, 'shop.db'), join(folder, 'backup.db')]
  const open = await openSqlite(path)
  const kept = await append(open, raised({ key: 'a' }), raised({ key: 'a' }))
  await open.database.backup(backup)
  const [lost] = await append(open, raised({ key: 'a' }))
  return { folder, path, backup, open, kept, lost: lost! }
}

describe('a backup', () => {
  test('holds what was committed, and nothing later', async () => {
    const { backup, kept } = await backedUp()
    const copy = await openSqlite(backup)
    expect(ids(await all(copy))).toEqual(ids(kept))
    expect((await copy.database.diagnose()).filter(({ level }) => level === 'problem')).toEqual([])
  })

  test('holds nothing of a transaction that is open', async () => {
    for (const path of [join(await testFolder(), 'shop.db'), ':memory:']) {
      const backup = join(await testFolder(), 'backup.db')
      const open = await openSqlite(path)
      await append(open, raised())
      const end = Promise.withResolvers<void>()
      const transaction = open.write(async (session) => {
        await open.log.append(session, [raised()])
        await end.promise
      })
      const copying = open.database.backup(backup)
      end.reject(new Undo())
      await expect(transaction).rejects.toBeInstanceOf(Undo)
      await copying
      expect(await all(await openSqlite(backup))).toHaveLength(1)
    }
  })

  test('ends, and is of one moment, while another process goes on writing', async () => {
    const folder = await testFolder()
    const [path, backup] = [join(folder, 'shop.db'), join(folder, 'backup.db')]
    const [open, other] = [await openSqlite(path), await openSqlite(path)]
    const text = JSON.stringify('x'.repeat(3_000))
    // Far more pages than one step of the copy takes.
    await append(open, ...Array.from({ length: 1_000 }, () => raised({ text })))
    const state = { copying: true, written: 0 }
    const writing = (async () => {
      while (state.copying) {
        await append(other, raised({ key: 'a' }), raised({ key: 'b' }))
        state.written++
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    await open.database.backup(backup)
    state.copying = false
    await writing
    expect(state.written).toBeGreaterThan(3)
    const events = await all(await openSqlite(backup))
    expect(events.length).toBeGreaterThanOrEqual(1_000)
    expect(events.map(({ position }) => position)).toEqual(events.map((_, n) => n + 1))
  })

  test('overwrites no file', async () => {
    const { folder, open } = await backedUp()
    const target = join(folder, 'notes.txt')
    writeFileSync(target, 'mine')
    await expect(open.database.backup(target)).rejects.toMatchObject({ code: 'PABAL_BACKUP_TARGET_EXISTS' })
    await expect(open.database.backup(join(folder, 'shop.db'))).rejects.toMatchObject({
      code: 'PABAL_BACKUP_TARGET_EXISTS',
    })
    expect(readFileSync(target, 'utf8')).toBe('mine')
  })

  test('to a place that is not there says so, and leaves nothing', async () => {
    const { folder, open } = await backedUp()
    const before = readdirSync(folder)
    const target = join(folder, 'no', 'backup.db')
    await expect(open.database.backup(target)).rejects.toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
    expect(readdirSync(folder)).toEqual(before)
    await append(open, raised())
  })

  test('of a closed database is refused', async () => {
    const { folder, open } = await backedUp()
    await open.database.close()
    await expect(open.database.backup(join(folder, 'b.db'))).rejects.toMatchObject({ code: 'PABAL_STORE_CLOSED' })
    expect(existsSync(join(folder, 'b.db'))).toBe(false)
  })

  test('can be looked into without changing it', async () => {
    const { folder, backup, open, path } = await backedUp()
    const before = [readdirSync(folder), readFileSync(backup)]
    const { incarnation } = await headOf(open)
    expect(await sqlite(path).database.peek(backup)).toEqual([{ context: 'ordering', position: 2, incarnation }])
    expect([readdirSync(folder), readFileSync(backup)]).toEqual(before)
  })
})

describe('a restored database', () => {
  test('holds what the backup holds, as a new incarnation of every log in it', async () => {
    const { path, backup, open, kept } = await backedUp()
    const billing = await processOn(open.database, 'billing')
    const before = [await headOf(open), await open.read((session) => billing.log.head(session))]
    const twoLogs = `${backup}.two`
    await open.database.backup(twoLogs)
    await open.database.close()
    await open.store.database.restore(backup)

    const again = await openSqlite(path)
    expect(ids(await all(again))).toEqual(ids(kept))
    const after = await headOf(again)
    expect(after.position).toBe(2)
    expect(after.incarnation).not.toBe(before[0]!.incarnation)
    await again.database.close()

    await again.store.database.restore(twoLogs)
    const both = await openSqlite(path)
    const incarnations = [
      (await headOf(both)).incarnation,
      (await both.read(async (session) => (await both.database.context('billing')).log.head(session))).incarnation,
    ]
    expect(new Set([...before.map(({ incarnation }) => incarnation), after.incarnation, ...incarnations]).size).toBe(5)
  })

  test('gives the positions after the backup to other events, which the incarnation tells', async () => {
    const { path, backup, open, lost } = await backedUp()
    await open.database.close()
    await open.store.database.restore(backup)
    const again = await openSqlite(path)
    const [other] = await append(again, raised({ key: 'a' }))
    expect([other!.position, other!.sequence]).toEqual([lost.position, lost.sequence])
    expect(other!.id).not.toBe(lost.id)
  })

  test('has no leases, and epochs beyond any that a worker of the time of the backup could hold', async () => {
    const { path, open } = await backedUp()
    const place = { position: 2, eventId: 'x', incarnation: 'one' }
    await open.write((session) => open.cursors.create(session, id, place))
    const claimed = (await open.write((session) => open.cursors.claim(session, id, 60_000)))!
    const backup = `${path}.backup`
    await open.database.backup(backup)
    await open.database.close()
    await open.store.database.restore(backup)

    const again = await openSqlite(path)
    const [cursor] = await again.read((session) => again.cursors.cursors(session))
    expect(cursor).toMatchObject({ position: 2, event_id: 'x', owner: null, until_ms: 0 })
    expect(cursor!.epoch).toBeGreaterThan(claimed.epoch + 1_000)
    const stale = again.write((session) =>
      again.cursors.move(session, id, [{ lane: id.lane, epoch: claimed.epoch, from: 2, to: place }], {
        leaseMs: 1,
        stalls: 0,
      }),
    )
    expect(await stale).toBeUndefined()
  })

  test('may be made where there is no database yet', async () => {
    const { folder, backup, kept } = await backedUp()
    const path = join(folder, 'new.db')
    await sqlite(path).database.restore(backup)
    expect(ids(await all(await openSqlite(path)))).toEqual(ids(kept))
  })

  test('takes the place of one that is broken', async () => {
    const { path, backup, open, kept } = await backedUp()
    await open.database.close()
    truncateSync(path, 8_000)
    writeFileSync(path, Buffer.alloc(3_000, 'x'), { flag: 'r+' })
    copyFileSync(path, `${path}.broken`)
    // Only what begins like a database is taken for one.
    await expect(open.store.database.restore(backup)).rejects.toMatchObject({ code: 'PABAL_STORE_FOREIGN' })
    writeFileSync(path, Buffer.concat([Buffer.from('SQLite format 3\0', 'latin1'), Buffer.alloc(3_000, 'x')]))
    await open.store.database.restore(backup)
    expect(ids(await all(await openSqlite(path)))).toEqual(ids(kept))
  })
})

describe('a restore is refused, and changes nothing,', () => {
  /** The code of the refusal, after a look at every file but the shared memory of the connections. */
  const restoring = async (given: Awaited<ReturnType<typeof backedUp>>, backup: string): Promise<unknown> => {
    const files = () =>
      readdirSync(given.folder, { withFileTypes: true })
        .filter(({ name }) => !name.endsWith('-shm'))
        .map((entry) => [entry.name, entry.isFile() ? readFileSync(join(given.folder, entry.name), 'base64') : ''])
    const before = files()
    try {
      await sqlite(given.path).database.restore(backup)
      return undefined
    } catch (error) {
      expect(files()).toEqual(before)
      return (error as { code?: unknown }).code
    }
  }

  test('while another process has the database open', async () => {
    const given = await backedUp()
    await given.open.database.close()
    const holder = startChild(
      {
        text: `
          import { systemEnvironment } from 'pabal'
          import { sqlite } from 'pabal/sqlite'
          await sqlite(process.argv[1]).database.open(systemEnvironment)
          console.log('open')
          process.stdin.resume()`,
      },
      given.path,
    )
    await holder.said('open')
    expect(await restoring(given, given.backup)).toBe('PABAL_RESTORE_IN_USE')
    await holder.kill()
    await given.open.store.database.restore(given.backup)
    expect(await all(await openSqlite(given.path))).toHaveLength(2)
  })

  test('while this process has the database open', async () => {
    const given = await backedUp()
    expect(await restoring(given, given.backup)).toBe('PABAL_RESTORE_IN_USE')
    expect((await append(given.open, raised()))[0]!.position).toBe(4)
  })

  test('from a backup that is not there', async () => {
    const given = await backedUp()
    expect(await restoring(given, join(given.folder, 'no.db'))).toBe('PABAL_STORE_UNREACHABLE')
  })

  test('from what is no backup', async () => {
    const given = await backedUp()
    await given.open.database.close()
    const [text, foreign, empty, folder] = ['text', 'foreign.db', 'empty.db', 'folder'].map((name) =>
      join(given.folder, name),
    )
    writeFileSync(text!, 'customer,total\n')
    const db = new DatabaseSync(foreign!)
    db.exec('CREATE TABLE mine (id TEXT)')
    db.close()
    writeFileSync(empty!, '')
    mkdirSync(folder!)
    for (const path of [text!, foreign!, empty!, folder!, given.path])
      expect(await restoring(given, path)).toBe('PABAL_STORE_FOREIGN')
  })

  test('from the files of a database in use, of which a copy by hand would be a part', async () => {
    const given = await backedUp()
    const copy = join(given.folder, 'copy.db')
    copyFileSync(given.path, copy)
    copyFileSync(`${given.path}-wal`, `${copy}-wal`)
    await given.open.database.close()
    expect(await restoring(given, copy)).toBe('PABAL_STORE_FOREIGN')
  })

  test('over a file of something else', async () => {
    const given = await backedUp()
    const path = join(given.folder, 'notes.txt')
    writeFileSync(path, 'mine')
    await expect(sqlite(path).database.restore(given.backup)).rejects.toMatchObject({ code: 'PABAL_STORE_FOREIGN' })
    expect(readFileSync(path, 'utf8')).toBe('mine')
  })

  test('in memory', async () => {
    const given = await backedUp()
    await expect(sqlite(':memory:').database.restore(given.backup)).rejects.toMatchObject({
      code: 'PABAL_STORE_UNREACHABLE',
    })
    expect(existsSync(':memory:')).toBe(false)
  })
})

test('an older file that was copied back by hand is told by the event at a position (P8)', async () => {
  const folder = await testFolder()
  const [path, older] = [join(folder, 'shop.db'), join(folder, 'older.db')]
  const open = await openSqlite(path)
  await append(open, raised(), raised())
  await open.database.close()
  copyFileSync(path, older)

  const going = await openSqlite(path)
  const [seen] = await append(going, raised(), raised())
  const before = await headOf(going)
  await going.database.close()
  copyFileSync(older, path)

  const rewound = await openSqlite(path)
  expect(await rewound.read((session) => rewound.log.at(session, seen!.position))).toBeUndefined()
  await append(rewound, raised(), raised())
  // Position, incarnation and head are the same again; the event at the cursor is another one.
  expect(await headOf(rewound)).toEqual(before)
  const there = await rewound.read((session) => rewound.log.at(session, seen!.position))
  expect(there!.id).not.toBe(seen!.id)
})
