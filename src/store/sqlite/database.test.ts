import { symlinkSync, watch, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startHolder } from '../../../test/support/child.ts'
import { eventually, quiet } from '../../../test/support/eventually.ts'
import { testFolder } from '../../../test/support/folder.ts'
import { type OpenSqlite, openSqlite } from '../../../test/support/sqlite.ts'
import { type Environment, systemEnvironment } from '../../core/environment.ts'
import { append, processOn, raised, Undo } from '../../testing/store-contract/fixture.ts'
import type { Session } from '../store.ts'
import { sqlite } from './index.ts'

const newFile = async (): Promise<string> => join(await testFolder(), 'shop.db')
const headOf = ({ read, log }: OpenSqlite): Promise<number> =>
  read(async (session) => (await log.head(session)).position)

/** Counts turns of this process's timers. */
const ticking = () => {
  const clock = { ticks: 0 }
  const timer = setInterval(() => clock.ticks++, 1)
  onTestFinished(() => clearInterval(timer))
  return clock
}

describe('a database file', () => {
  test('is in WAL mode, and every commit is synced, unless it is asked otherwise', async () => {
    const path = await newFile()
    const full = await openSqlite(path)
    const normal = await openSqlite(path, { synchronous: 'normal' })
    // Of each connection by itself, as its own transaction sees it; 2 is FULL, 1 NORMAL (sqlite.org/pragma.html).
    const synchronous = ({ write, tx }: OpenSqlite) =>
      write((session) => tx(session).get<{ synchronous: number }>('SELECT * FROM pragma_synchronous')?.synchronous)
    expect(await synchronous(full)).toBe(2)
    expect(await synchronous(normal)).toBe(1)
    const db = new DatabaseSync(path)
    onTestFinished(() => db.close())
    expect({ ...db.prepare('PRAGMA journal_mode').get() }).toEqual({ journal_mode: 'wal' })
    expect((await full.database.diagnose()).map(({ level }) => level)).toEqual(['ok'])
    expect((await normal.database.diagnose()).find(({ title }) => title === 'durability')?.level).toBe('warning')
  })

  test('keeps the references of the user’s tables', async () => {
    const { write, tx } = await openSqlite(await newFile())
    await write((session) => {
      tx(session).run('CREATE TABLE parent (id INTEGER PRIMARY KEY)')
      tx(session).run('CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)')
    })
    // Deferred: it fails at COMMIT, when the function of the unit has long returned.
    await expect(write((session) => tx(session).run('INSERT INTO child VALUES (7)'))).rejects.toThrow(
      'FOREIGN KEY constraint failed',
    )
    await write((session) => {
      expect(tx(session).all('SELECT * FROM child')).toEqual([])
    })
  })

  test('has one identity, over whatever links and spellings it is named', async () => {
    const folder = await testFolder()
    const identity = (...path: string[]) => sqlite(join(folder, ...path)).database.identity
    const before = identity('shop.db')
    symlinkSync(folder, join(folder, 'link'))
    await openSqlite(join(folder, 'shop.db'))
    symlinkSync(join(folder, 'shop.db'), join(folder, 'alias.db'))
    for (const path of [['shop.db'], ['.', 'shop.db'], ['link', 'shop.db'], ['alias.db'], ['link', 'alias.db']])
      expect(identity(...path)).toBe(before)
    expect(identity('other.db')).not.toBe(before)
    expect(sqlite(':memory:').database.identity).not.toBe(sqlite(':memory:').database.identity)
  })

  test('holds several contexts whose tables never share a name', async () => {
    const { database, write, tx } = await openSqlite(await newFile())
    const contexts = ['shop', 'shop_event', 'shop_parked', 'shop_key', 'shop_unit', 'event', 'key_head', 'meta']
    for (const name of contexts) await append(await processOn(database, name), raised())
    for (const name of contexts)
      expect(
        (await database.read(async (session) => (await processOn(database, name)).log.head(session))).position,
      ).toBe(1)
    await write((session) => {
      const names = tx(session).all<{ name: string }>('SELECT name FROM sqlite_master')
      expect(new Set(names.map(({ name }) => name)).size).toBe(names.length)
    })
  })
})

describe('while another process writes', () => {
  test('a writer waits its turn, and the event loop goes on', async () => {
    const path = await newFile()
    const open = await openSqlite(path)
    const holder = startHolder(path)
    await holder.said('held')
    const clock = ticking()
    const appended = append(open, raised())
    const done = { yes: false }
    void appended.then(() => (done.yes = true))
    // SQLite's own waiting would hold this process: not one of these ticks would come.
    await eventually('300 ticks', () => clock.ticks >= 300)
    expect(done.yes).toBe(false)
    holder.tell('release')
    expect((await appended)[0]!.position).toBe(1)
    await holder.said('released')
  })

  test('a writer waits no longer than it was told, and nothing is half-done', async () => {
    const path = await newFile()
    const open = await openSqlite(path, { busyTimeoutMs: 50 })
    const holder = startHolder(path)
    await holder.said('held')
    const clock = ticking()
    const appended = append(open, raised())
    await expect(appended).rejects.toMatchObject({ code: 'PABAL_STORE_BUSY', retryable: true })
    expect(clock.ticks).toBeGreaterThan(0)
    expect(await headOf(open)).toBe(0)
    holder.tell('release')
    await holder.said('released')
    expect((await append(open, raised()))[0]!.position).toBe(1)
  })

  test('a process can open the file, read it, and open a context that is there', async () => {
    const path = await newFile()
    await append(await openSqlite(path), raised())
    const holder = startHolder(path)
    await holder.said('held')
    const other = await openSqlite(path)
    expect(await headOf(other)).toBe(1)
  })
})

describe('while another transaction of the same process runs', () => {
  test('a writer waits no longer than it was told', async () => {
    const open = await openSqlite(':memory:', { busyTimeoutMs: 20 })
    const end = Promise.withResolvers<void>()
    const holding = open.write(() => end.promise)
    await expect(open.write(() => 1)).rejects.toMatchObject({ code: 'PABAL_STORE_BUSY' })
    end.resolve()
    await holding
    expect(await open.write(() => 1)).toBe(1)
  })

  test('closing waits no longer than it was told, and what was not committed is gone', async () => {
    const path = await newFile()
    const open = await openSqlite(path, { busyTimeoutMs: 20 })
    const end = Promise.withResolvers<void>()
    const stuck = open.write(async (session) => {
      await open.log.append(session, [raised()])
      await end.promise
      await open.log.append(session, [raised()])
    })
    await open.database.close()
    end.resolve()
    await expect(stuck).rejects.toMatchObject({ code: 'PABAL_STORE_CLOSED' })
    await expect(open.write(() => 1)).rejects.toMatchObject({ code: 'PABAL_STORE_CLOSED' })
    expect(await headOf(await openSqlite(path))).toBe(0)
  })

  test('closing from two sides is closing once', async () => {
    const open = await openSqlite(await newFile())
    await Promise.all([open.database.close(), open.database.close(), open.database.close()])
  })

  test('a read that is under way when the database closes is told so', async () => {
    const open = await openSqlite(await newFile())
    const end = Promise.withResolvers<void>()
    const reading = open.read(async (session) => {
      await end.promise
      return open.log.head(session)
    })
    await open.database.close()
    end.resolve()
    await expect(reading).rejects.toMatchObject({ code: 'PABAL_STORE_CLOSED' })
  })
})

describe('the commit of another process', () => {
  /** An environment that sleeps no longer than a turn, and counts how often it did: each notification sleeps once. */
  const wakeful = () => {
    const counted = { sleeps: 0 }
    const environment: Environment = {
      ...systemEnvironment,
      sleep: async (ms, signal) => {
        // The look now and then, every few seconds, never comes: what is told is told by the file.
        if (ms > 1_000) return systemEnvironment.sleep(2 ** 30, signal)
        counted.sleeps++
        await quiet()
      },
    }
    return { environment, counted }
  }

  /** Resolves when every change of a file in the folder so far has been told to those who watch it. */
  const allSeen = async (folder: string): Promise<void> => {
    const barrier = join(folder, 'barrier')
    const watcher = watch(folder)
    const seen = new Promise((resolve) => watcher.on('change', (_event, name) => name === 'barrier' && resolve(name)))
    writeFileSync(barrier, '')
    await seen
    watcher.close()
    await quiet()
  }

  test('is told, and our own is not', async () => {
    const path = await newFile()
    const { environment, counted } = wakeful()
    const open = await openSqlite(path, { environment })
    const other = await openSqlite(path)
    let calls = 0
    const stop = open.database.onNews((context) => {
      // Without a context: another process.
      if (context === undefined) calls++
    })

    for (let n = 0; n < 5; n++) await append(open, raised())
    await eventually('the watcher saw our commits', () => counted.sleeps > 0)
    await quiet()
    expect(calls).toBe(0)

    await append(other, raised())
    await eventually('it is told', () => calls > 0)

    const told = calls
    stop()
    const seen = counted.sleeps
    await append(other, raised())
    await eventually('the watcher saw their commit', () => counted.sleeps > seen)
    await quiet()
    expect(calls).toBe(told)
  })

  test('is told after our own transaction when it comes before it', async () => {
    const path = await newFile()
    const { environment, counted } = wakeful()
    const open = await openSqlite(path, { environment })
    const other = await openSqlite(path)
    let calls = 0
    open.database.onNews((context) => {
      // Without a context: another process.
      if (context === undefined) calls++
    })
    await append(other, raised())
    // Our transaction has the lock from here on, so the notification finds it busy.
    const end = Promise.withResolvers<void>()
    const holding = open.write(() => end.promise)
    await eventually('the watcher saw their commit', () => counted.sleeps > 0)
    await allSeen(dirname(path))
    end.reject(new Undo())
    await expect(holding).rejects.toBeInstanceOf(Undo)
    await eventually('it is told', () => calls > 0)
  })

  test('of one that did not commit is not told', async () => {
    const path = await newFile()
    const { environment, counted } = wakeful()
    const open = await openSqlite(path, { environment })
    const other = await openSqlite(path)
    let calls = 0
    open.database.onNews((context) => {
      // Without a context: another process.
      if (context === undefined) calls++
    })
    await expect(
      other.write(async (session) => {
        await other.log.append(session, [raised()])
        throw new Undo()
      }),
    ).rejects.toBeInstanceOf(Undo)
    await append(open, raised())
    await eventually('the watcher saw something', () => counted.sleeps > 0)
    await quiet()
    expect(calls).toBe(0)
  })

  test('is nothing that a database in memory could be told', async () => {
    const { database } = await openSqlite(':memory:')
    const stop = database.onNews(() => {})
    stop()
  })
})

describe('joining a transaction that the caller owns', () => {
  const own = (path: string): DatabaseSync => {
    const db = new DatabaseSync(path, { timeout: 1_000 })
    onTestFinished(() => {
      if (db.isOpen) db.close()
    })
    return db
  }
  const notATransaction = { code: 'PABAL_NOT_A_TRANSACTION' }

  test('appends in it: the events commit with it', async () => {
    const path = await newFile()
    const open = await openSqlite(path)
    const db = own(path)
    db.exec('BEGIN IMMEDIATE; CREATE TABLE mine (id TEXT)')
    const sessions: Session[] = []
    const result = await open.database.join(db, async (session) => {
      sessions.push(session)
      open.tx(session).run("INSERT INTO mine VALUES ('a')")
      await open.log.append(session, [raised(), raised()])
      return 'joined'
    })
    expect(result).toBe('joined')
    expect(() => open.log.head(sessions[0]!)).toThrow(expect.objectContaining({ code: 'PABAL_UNIT_CLOSED' }))
    expect(await headOf(open)).toBe(0)
    db.exec('COMMIT')
    expect(await headOf(open)).toBe(2)
    expect(db.prepare('SELECT count(*) AS n FROM mine').get()?.['n']).toBe(1)
    // The next transaction on the same connection is another one to join.
    db.exec('BEGIN')
    await open.database.join(db, (session) => open.log.append(session, [raised()]))
    db.exec('COMMIT')
    expect(await headOf(open)).toBe(3)
  })

  test('appends in it: the events are undone with it', async () => {
    const path = await newFile()
    const open = await openSqlite(path)
    const db = own(path)
    db.exec('BEGIN IMMEDIATE')
    await open.database.join(db, (session) => open.log.append(session, [raised()]))
    db.exec('ROLLBACK')
    expect(await headOf(open)).toBe(0)
    expect((await append(open, raised()))[0]).toMatchObject({ position: 1, sequence: 1 })
  })

  test('lets the very error through, and leaves the transaction to its owner', async () => {
    const path = await newFile()
    const open = await openSqlite(path)
    const db = own(path)
    db.exec('BEGIN IMMEDIATE')
    const error = new Undo()
    await expect(open.database.join(db, () => Promise.reject(error))).rejects.toBe(error)
    expect(db.isTransaction).toBe(true)
  })

  test('over a link to the same file is joining the same file', async () => {
    const folder = await testFolder()
    const open = await openSqlite(join(folder, 'shop.db'))
    symlinkSync(folder, join(folder, 'link'))
    const db = own(join(folder, 'link', 'shop.db'))
    db.exec('BEGIN IMMEDIATE')
    await open.database.join(db, (session) => open.log.append(session, [raised()]))
    db.exec('COMMIT')
    expect(await headOf(open)).toBe(1)
  })

  test('is refused with a handle that has no transaction open, or is not open itself', async () => {
    const path = await newFile()
    const open = await openSqlite(path)
    const db = own(path)
    const never = () => expect.unreachable()
    await expect(open.database.join(db, never)).rejects.toMatchObject(notATransaction)
    db.exec('BEGIN; COMMIT')
    await expect(open.database.join(db, never)).rejects.toMatchObject(notATransaction)
    db.close()
    await expect(open.database.join(db, never)).rejects.toMatchObject(notATransaction)
  })

  test('is refused with a transaction on another file, or in memory', async () => {
    const folder = await testFolder()
    const open = await openSqlite(join(folder, 'shop.db'))
    const inMemory = await openSqlite(':memory:')
    for (const path of [join(folder, 'other.db'), ':memory:']) {
      const db = own(path)
      db.exec('BEGIN IMMEDIATE')
      await expect(open.database.join(db, () => expect.unreachable())).rejects.toMatchObject(notATransaction)
      await expect(inMemory.database.join(db, () => expect.unreachable())).rejects.toMatchObject(notATransaction)
    }
  })

  test.each([
    ['a pool', { connect: () => {}, query: () => {} }],
    ['a path', 'shop.db'],
    ['nothing', undefined],
    ['null', null],
  ])('is refused with %s', async (_what, notOne) => {
    const { database } = await openSqlite(':memory:')
    await expect(database.join(notOne, () => expect.unreachable())).rejects.toMatchObject(notATransaction)
  })

  test('is refused when the database has been closed', async () => {
    const path = await newFile()
    const open = await openSqlite(path)
    await open.database.close()
    const db = own(path)
    db.exec('BEGIN IMMEDIATE')
    await expect(open.database.join(db, () => expect.unreachable())).rejects.toMatchObject({
      code: 'PABAL_STORE_CLOSED',
    })
  })

  test('tells a full disk as such, as a limit of pages on the caller’s own connection shows', async () => {
    const path = await newFile()
    const open = await openSqlite(path)
    const db = own(path)
    db.exec('BEGIN IMMEDIATE; PRAGMA max_page_count = 1')
    const text = JSON.stringify('x'.repeat(100_000))
    await expect(
      open.database.join(db, (session) => open.log.append(session, [raised({ text })])),
    ).rejects.toMatchObject({ code: 'PABAL_STORE_FULL', retryable: true })
    if (db.isTransaction) db.exec('ROLLBACK')
    expect(await headOf(open)).toBe(0)
    expect((await append(open, raised({ text })))[0]!.position).toBe(1)
  })
})
