import { execFileSync, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startChild } from '../../../test/support/child.ts'
import { testFolder } from '../../../test/support/folder.ts'
import { titled } from '../../../test/support/require-server.ts'
import { type OpenSqlite, openSqlite } from '../../../test/support/sqlite.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { append, processOn, raised } from '../../testing/store-contract/fixture.ts'
import type { OpenOptions } from '../store.ts'
import { sqlite } from './index.ts'

const opening = async (path: string, options?: OpenOptions): Promise<unknown> => {
  const database = await sqlite(path).database.open(systemEnvironment, options)
  onTestFinished(() => database.close())
  return processOn(database)
}
const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')
const headOf = ({ read, log }: OpenSqlite): Promise<number> =>
  read(async (session) => (await log.head(session)).position)

describe('a path that pabal cannot use', () => {
  const garbage = Buffer.concat([Buffer.from('SQLite format 3\0', 'latin1'), randomBytes(8_000)])

  test.each<[string, string | Buffer]>([
    ['a text', 'customer,total\n1,2\n'],
    ['a short text', 'x'],
    ['bytes behind a header of SQLite', garbage],
  ])('because it is a file with %s is refused, and stays as it was', async (_what, content) => {
    const folder = await testFolder()
    const path = join(folder, 'shop.db')
    writeFileSync(path, content)
    const before = digest(path)
    for (const existing of [false, true])
      await expect(opening(path, { existing })).rejects.toMatchObject({ code: 'PABAL_STORE_FOREIGN' })
    expect(digest(path)).toBe(before)
    expect(readdirSync(folder)).toEqual(['shop.db'])
  })

  test('because it is a folder is refused', async () => {
    const path = await testFolder()
    await expect(opening(path)).rejects.toMatchObject({ code: 'PABAL_STORE_FOREIGN' })
    expect(readdirSync(path)).toEqual([])
  })

  test('because it is a pipe or a device is refused, without waiting for it', async () => {
    const pipe = join(await testFolder(), 'shop.db')
    const made = spawnSync('mkfifo', [pipe]).status === 0
    for (const path of [...(made ? [pipe] : []), '/dev/null'])
      await expect(opening(path)).rejects.toMatchObject({ code: 'PABAL_STORE_FOREIGN' })
  })

  test('because a part of it is a file is refused', async () => {
    const folder = await testFolder()
    writeFileSync(join(folder, 'file'), 'x')
    const path = join(folder, 'file', 'shop.db')
    await expect(opening(path)).rejects.toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
  })

  test('is made where its folders are not there yet', async () => {
    const path = join(await testFolder(), '주문', 'data', 'shop.db')
    expect(await headOf(await openSqlite(path))).toBe(0)
  })
})

describe('to look at what is there', () => {
  test('creates no file, no folder and no table', async () => {
    const folder = await testFolder()
    const path = join(folder, 'data', 'shop.db')
    await expect(opening(path, { existing: true })).rejects.toMatchObject({ code: 'PABAL_STORE_UNREACHABLE' })
    expect(readdirSync(folder)).toEqual([])

    mkdirSync(join(folder, 'data'))
    const db = new DatabaseSync(path)
    db.exec('CREATE TABLE mine (id TEXT)')
    db.close()
    const before = digest(path)
    const database = await sqlite(path).database.open(systemEnvironment, { existing: true })
    await expect(database.context('ordering', { existing: true })).rejects.toMatchObject({ code: 'PABAL_STORE_OLDER' })
    await database.close()
    expect(digest(path)).toBe(before)
  })

  test('reads what an app has written', async () => {
    const path = join(await testFolder(), 'shop.db')
    await append(await openSqlite(path), raised())
    const database = await sqlite(path).database.open(systemEnvironment, { existing: true })
    onTestFinished(() => database.close())
    const { log } = await database.context('ordering', { existing: true })
    expect((await database.read((session) => log.head(session))).position).toBe(1)
  })
})

test('what this user may not read or write is told, and stays as it was', async () => {
  const folder = await testFolder()
  chmodSync(folder, 0o755)
  const made = (name: string, fileMode: number, folderMode: number): string => {
    const own = join(folder, name)
    mkdirSync(own)
    const path = join(own, 'shop.db')
    const db = new DatabaseSync(path)
    db.exec('PRAGMA journal_mode = WAL; CREATE TABLE mine (id TEXT)')
    db.close()
    chmodSync(path, fileMode)
    chmodSync(own, folderMode)
    return path
  }
  const paths = [
    made('readable', 0o444, 0o777),
    made('fixed', 0o666, 0o555),
    made('hidden', 0o000, 0o777),
    join(folder, 'fixed', 'new.db'),
    join(folder, 'fixed', 'new', 'new.db'),
    made('open', 0o666, 0o777),
  ]
  onTestFinished(() => chmodSync(join(folder, 'fixed'), 0o777))
  // Rights do not bind the superuser, so the child gives them up.
  const child = startChild(
    {
      text: `
        import { systemEnvironment } from 'pabal'
        import { sqlite } from 'pabal/sqlite'
        if (process.getuid() === 0) {
          process.setgroups([])
          process.setgid(65534)
          process.setuid(65534)
        }
        for (const path of process.argv.slice(1))
          try {
            const database = await sqlite(path).database.open(systemEnvironment)
            await database.context('ordering')
            await database.close()
            console.log('open')
          } catch (error) {
            console.log(error.code)
          }`,
    },
    ...paths,
  )
  expect(await child.ended).toBe(0)
  expect(child.lines).toEqual([
    'PABAL_STORE_READONLY',
    'PABAL_STORE_READONLY',
    'PABAL_STORE_UNREACHABLE',
    'PABAL_STORE_READONLY',
    'PABAL_STORE_READONLY',
    'open',
  ])
  for (const name of ['readable', 'fixed', 'hidden']) expect(readdirSync(join(folder, name))).toEqual(['shop.db'])
})

test('a database of the user’s own is shared, and keeps what is in it', async () => {
  const path = join(await testFolder(), 'shop.db')
  const db = new DatabaseSync(path)
  db.exec("CREATE TABLE mine (id TEXT); INSERT INTO mine VALUES ('a')")
  db.close()
  const open = await openSqlite(path)
  await open.write(async (session) => {
    open.tx(session).run("INSERT INTO mine VALUES ('b')")
    await open.log.append(session, [raised()])
  })
  await open.read((session) => {
    expect(
      open
        .tx(session)
        .all('SELECT id FROM mine')
        .map((row) => ({ ...row })),
    ).toEqual([{ id: 'a' }, { id: 'b' }])
  })
})

test('tables of a newer version are refused, and stay as they were', async () => {
  const path = join(await testFolder(), 'shop.db')
  const open = await openSqlite(path)
  await append(open, raised())
  await open.database.close()
  const db = new DatabaseSync(path)
  db.exec("INSERT INTO pabal_migration VALUES ('ordering', 999, 'of the future', 0); PRAGMA wal_checkpoint(TRUNCATE)")
  db.close()
  const before = digest(path)
  const database = await sqlite(path).database.open(systemEnvironment)
  for (const existing of [false, true])
    await expect(database.context('ordering', { existing })).rejects.toMatchObject({
      code: 'PABAL_STORE_NEWER',
      message: expect.stringContaining('999'),
    })
  // Another context of the same file has a version of its own.
  await database.read(() => 1)
  await database.close()
  expect(digest(path)).toBe(before)
})

/** A file system of its own: small, or read-only. Only the superuser may mount one. */
const mountFailure = (): string | undefined => {
  if (process.platform !== 'linux') return 'only Linux has tmpfs'
  if (process.getuid?.() !== 0) return 'only root may mount a file system'
  const folder = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim()
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]).status === 0
  if (mounted) spawnSync('umount', [folder])
  rmSync(folder, { recursive: true })
  return mounted ? undefined : 'this system refuses to mount a tmpfs'
}
const missing = mountFailure()

const smallDisk = async (size: string) => {
  const folder = await testFolder()
  const mount = (...options: string[]) =>
    execFileSync('mount', ['-t', 'tmpfs', '-o', options.join(','), 'tmpfs', folder])
  mount(`size=${size}`)
  // Lazily: a failed test may have left a file open.
  onTestFinished(() => void spawnSync('umount', ['--lazy', folder]))
  return { folder, makeReadOnly: () => mount('remount', 'ro') }
}

describe.skipIf(missing !== undefined)(titled('a full disk', missing), () => {
  test('fails a transaction as a whole, and gives way when there is space again', async () => {
    const { folder } = await smallDisk('2m')
    const ballast = join(folder, 'ballast')
    writeFileSync(ballast, Buffer.alloc(512 * 1_024))
    const open = await openSqlite(join(folder, 'shop.db'))
    await open.write((session) => {
      open.tx(session).run('CREATE TABLE state (event_id TEXT)')
    })

    const text = JSON.stringify('x'.repeat(20_000))
    const place = () =>
      open.write(async (session) => {
        const events = Array.from({ length: 4 }, (_, n) => raised({ key: `order-${n}`, text }))
        for (const { id } of events) open.tx(session).run('INSERT INTO state VALUES (?)', id)
        await open.log.append(session, events)
      })
    let committed = 0
    const failure = await (async () => {
      for (; committed < 100; committed++)
        try {
          await place()
        } catch (error) {
          return error
        }
      return undefined
    })()
    expect(failure).toMatchObject({ code: 'PABAL_STORE_FULL', retryable: true })
    expect(committed).toBeGreaterThan(0)

    const check = async () => {
      const { events } = await open.read((session) => open.log.readAfter(session, { after: 0, limit: 1_000 }))
      const states = await open.read((session) =>
        open.tx(session).all<{ event_id: string }>('SELECT event_id FROM state'),
      )
      expect(states.map((row) => row.event_id).toSorted()).toEqual(events.map(({ id }) => id).toSorted())
      expect(events.map(({ position }) => position)).toEqual(Array.from({ length: 4 * committed }, (_, n) => n + 1))
    }
    await check()
    await expect(place()).rejects.toMatchObject({ code: 'PABAL_STORE_FULL' })

    rmSync(ballast)
    await place()
    committed++
    await check()
    expect((await open.database.diagnose()).filter(({ level }) => level === 'problem')).toEqual([])
  })

  test('leaves no half of a backup, and no half of a restored database', async () => {
    const { folder } = await smallDisk('1m')
    const open = await openSqlite(join(folder, 'shop.db'))
    const text = JSON.stringify('x'.repeat(20_000))
    while (readFileSync(join(folder, 'shop.db-wal')).length < 300_000) await append(open, raised({ text }))
    const outside = join(await testFolder(), 'backup.db')
    await open.database.backup(outside)
    await open.database.close()
    const { bavail, bsize } = statfsSync(folder)
    writeFileSync(join(folder, 'ballast'), Buffer.alloc(bavail * bsize - 150_000))
    const before = digest(join(folder, 'shop.db'))

    const again = await openSqlite(join(folder, 'shop.db'))
    const target = join(folder, 'backup.db')
    await expect(again.database.backup(target)).rejects.toMatchObject({ code: 'PABAL_STORE_FULL' })
    await again.database.close()
    await expect(again.store.database.restore(outside)).rejects.toMatchObject({ code: 'PABAL_STORE_FULL' })
    expect(readdirSync(folder).toSorted()).toEqual(['ballast', 'shop.db'])
    expect(digest(join(folder, 'shop.db'))).toBe(before)
  })
})

describe.skipIf(missing !== undefined)(titled('a read-only disk', missing), () => {
  test('is told when the app opens its file', async () => {
    const { folder, makeReadOnly } = await smallDisk('2m')
    const path = join(folder, 'shop.db')
    const open = await openSqlite(path)
    await append(open, raised())
    await open.database.close()
    makeReadOnly()
    const before = digest(path)
    await expect(opening(path)).rejects.toMatchObject({
      code: 'PABAL_STORE_READONLY',
    })
    expect(digest(path)).toBe(before)
  })

  test('is told when there is no file yet', async () => {
    const { folder, makeReadOnly } = await smallDisk('2m')
    makeReadOnly()
    for (const path of [join(folder, 'shop.db'), join(folder, 'data', 'shop.db')])
      await expect(opening(path)).rejects.toMatchObject({
        code: 'PABAL_STORE_READONLY',
      })
    expect(existsSync(join(folder, 'data'))).toBe(false)
  })
})
