import { describe, expect, test } from 'vitest'
import { type OpenSqlite, openSqlite } from '../../../test/support/sqlite.ts'
import { append, raised, Undo, undone } from '../../testing/store-contract/fixture.ts'
import type { SqliteTx } from './tx.ts'

const withTable = async (): Promise<OpenSqlite> => {
  const open = await openSqlite(':memory:')
  await open.write((session) => {
    open.tx(session).run('CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, flag, data BLOB)')
  })
  return open
}
const names = ({ read, tx }: OpenSqlite): Promise<unknown[]> =>
  read((session) =>
    tx(session)
      .all<{ name: string }>('SELECT name FROM item ORDER BY id')
      .map(({ name }) => name),
  )
const refused = (code: string): unknown => expect.objectContaining({ code })

describe('tx', () => {
  test('runs statements, and gives what they changed and found', async () => {
    const { write, tx } = await withTable()
    await write((session) => {
      const db = tx(session)
      expect(db.run('INSERT INTO item (name) VALUES (?), (?)', 'a', '주문-🐎')).toEqual({
        changes: 2,
        lastInsertRowid: 2,
      })
      expect(db.run('UPDATE item SET flag = 1 WHERE id > 5')).toMatchObject({ changes: 0 })
      expect({ ...db.get<{ name: string }>('SELECT name FROM item WHERE id = ?', 2) }).toEqual({ name: '주문-🐎' })
      expect(db.get('SELECT name FROM item WHERE id = 3')).toBeUndefined()
      expect(db.all('SELECT id FROM item ORDER BY id').map((row) => ({ ...row }))).toEqual([{ id: 1 }, { id: 2 }])
      expect(db.all('SELECT id FROM item WHERE id > 5')).toEqual([])
      expect({ ...db.get('INSERT INTO item (name) VALUES (?) RETURNING id', 'c') }).toEqual({ id: 3 })
    })
  })

  test('stores booleans as 1 and 0, undefined as null, and bytes as they are', async () => {
    const { write, tx } = await withTable()
    await write((session) => {
      const db = tx(session)
      const row = (flag: boolean | undefined | null, data?: Uint8Array) => {
        db.run('DELETE FROM item')
        db.run('INSERT INTO item (flag, data) VALUES (?, ?)', flag, data)
        return { ...db.get('SELECT flag, data FROM item') }
      }
      expect(row(true)).toEqual({ flag: 1, data: null })
      expect(row(false)).toEqual({ flag: 0, data: null })
      expect(row(undefined)).toEqual({ flag: null, data: null })
      expect(row(null, new Uint8Array([0, 255]))).toEqual({ flag: null, data: new Uint8Array([0, 255]) })
      expect(db.get('SELECT ? AS value', 'a\0b')).toMatchObject({ value: 'a\0b' })
    })
  })

  test('refuses values that SQLite does not have, wherever they stand', async () => {
    const { write, tx } = await withTable()
    await write((session) => {
      const db = tx(session)
      for (const value of [new Date(0), {}, [1], { name: 'a' }] as unknown as string[]) {
        expect(() => db.run('INSERT INTO item (flag) VALUES (?)', value)).toThrow(TypeError)
        expect(() => db.run('INSERT INTO item (id, flag) VALUES (?, ?)', 1, value)).toThrow(TypeError)
      }
      // @ts-expect-error and a Date does not compile
      expect(() => db.run('SELECT ?', new Date(0))).toThrow(TypeError)
    })
  })

  test('lets a broken constraint through as it is, and the transaction goes on', async () => {
    const open = await withTable()
    await open.write((session) => {
      const db = open.tx(session)
      db.run("INSERT INTO item (name) VALUES ('a')")
      expect(() => db.run("INSERT INTO item (name) VALUES ('a')")).toThrow(
        expect.objectContaining({ code: 'ERR_SQLITE_ERROR', message: expect.stringContaining('UNIQUE') }),
      )
      db.run("INSERT INTO item (name) VALUES ('b')")
    })
    expect(await names(open)).toEqual(['a', 'b'])
  })

  test('is of no use after its unit', async () => {
    const open = await withTable()
    const kept: SqliteTx[] = []
    await open.write((session) => void kept.push(open.tx(session)))
    await open.read((session) => void kept.push(open.store.reader(session)))
    await undone(
      open.write((session) => {
        kept.push(open.tx(session))
        throw new Undo()
      }),
    )
    const useAll = () => {
      for (const tx of kept)
        for (const use of [
          () => tx.run("INSERT INTO item (name) VALUES ('late')"),
          () => tx.get('SELECT 1'),
          () => tx.all('SELECT 1'),
        ])
          expect(use).toThrow(refused('PABAL_UNIT_CLOSED'))
    }
    useAll()
    // Nor inside of somebody else's transaction on the same connection.
    await open.write(useAll)
    expect(kept).toHaveLength(3)
    expect(await names(open)).toEqual([])
  })

  test('writes nothing outside of a unit', async () => {
    const open = await withTable()
    const writing = open.read((session) => open.store.reader(session).run("INSERT INTO item (name) VALUES ('a')"))
    await expect(writing).rejects.toMatchObject({ code: 'PABAL_STORE_READONLY' })
    expect(await names(open)).toEqual([])
  })
})

const controlWords = [
  'BEGIN',
  'begin immediate',
  'COMMIT',
  'End',
  'ROLLBACK',
  'rollback to pabal_1',
  'SAVEPOINT mine',
  'RELEASE pabal_1',
  "ATTACH 'x.db' AS x",
  'DETACH x',
  'PRAGMA synchronous = OFF',
  'VACUUM',
]
const disguises: [string, (word: string) => string][] = [
  ['plain', (word) => word],
  ['after space', (word) => ` \t\n\r\n\f${word}`],
  ['after a byte order mark', (word) => `\ufeff${word}`],
  ['after empty statements', (word) => `; ;\n;${word}`],
  ['after a comment to the end of the line', (word) => `-- a comment; select 1\n${word}`],
  ['after a comment that ends with a Windows line break', (word) => `-- a comment\r\n${word}`],
  ['after a comment with what only JavaScript takes for a line break', (word) => `-- a\u2028b\rc\n${word}`],
  ['after a comment', (word) => `/* a * / -- b \n select */${word}`],
  ['after comments of both kinds', (word) => `/**/--\n/* '*/ ;-- "\n ${word}`],
  ['before a semicolon and a comment', (word) => `${word}; -- done`],
]

describe('a transaction stays in the hands of pabal', () => {
  test.each(disguises)('when a unit says BEGIN, COMMIT or the like, %s', async (_where, disguise) => {
    const open = await withTable()
    await open.write((session) => {
      const db = open.tx(session)
      db.run("INSERT INTO item (name) VALUES ('a')")
      for (const word of controlWords)
        for (const use of ['run', 'get', 'all'] as const)
          expect(() => db[use](disguise(word))).toThrow(refused('PABAL_TRANSACTION_CONTROL'))
      db.run("INSERT INTO item (name) VALUES ('b')")
    })
    expect(await names(open)).toEqual(['a', 'b'])
  })

  test('and what only looks like control is let through', async () => {
    const open = await withTable()
    await open.write((session) => {
      const db = open.tx(session)
      db.run('CREATE TABLE "commit" (rollback TEXT)')
      db.run('/* begin */ INSERT INTO "commit" VALUES (\'begin; commit\')')
      expect(db.all('-- rollback\nSELECT rollback FROM "commit"').map((row) => ({ ...row }))).toEqual([
        { rollback: 'begin; commit' },
      ])
    })
  })

  test.each([
    "INSERT INTO item (name) VALUES ('a'); INSERT INTO item (name) VALUES ('b')",
    'SELECT 1; COMMIT',
    "SELECT ';' ; -- x\n/* y */ SELECT 2",
  ])('and only the first of several statements is never run alone: %s', async (sql) => {
    const open = await withTable()
    await open.write((session) => {
      for (let time = 0; time < 2; time++)
        expect(() => open.tx(session).run(sql)).toThrow(refused('PABAL_SEVERAL_STATEMENTS'))
    })
    expect(await names(open)).toEqual([])
  })

  test('while what follows a statement may be nothing', async () => {
    const open = await withTable()
    await open.write((session) => {
      open.tx(session).run("INSERT INTO item (name) VALUES ('a;b') ; ; -- done; really\n /* end */ ;")
    })
    expect(await names(open)).toEqual(['a;b'])
  })
})

describe('when SQLite itself rolls the transaction back', () => {
  const rollingBack = async (): Promise<OpenSqlite> => {
    const open = await withTable()
    await open.write((session) => {
      open.tx(session).run("INSERT INTO item (name) VALUES ('there')")
      open
        .tx(session)
        .run("CREATE TRIGGER no BEFORE INSERT ON item WHEN new.name = 'no' BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
    })
    return open
  }
  const endings: [string, string][] = [
    ['INSERT OR ROLLBACK', "INSERT OR ROLLBACK INTO item (name) VALUES ('there')"],
    ["a trigger's RAISE(ROLLBACK)", "INSERT INTO item (name) VALUES ('no')"],
  ]

  test.each(endings)('by %s, nothing more is run, and nothing of the unit is stored', async (_how, sql) => {
    const open = await rollingBack()
    const unit = open.write(async (session) => {
      const tx = open.tx(session)
      tx.run("INSERT INTO item (name) VALUES ('before')")
      expect(() => tx.run(sql)).toThrow(/UNIQUE|no/)
      // A handler that swallows the error and goes on: each statement would now commit alone.
      expect(() => tx.run("INSERT INTO item (name) VALUES ('after')")).toThrow(refused('PABAL_ROLLED_BACK'))
      await expect(async () => open.log.append(session, [raised()])).rejects.toMatchObject({
        code: 'PABAL_ROLLED_BACK',
      })
      expect(() => session.savepoint(() => 1)).toThrow(refused('PABAL_ROLLED_BACK'))
    })
    await expect(unit).rejects.toMatchObject({ code: 'PABAL_ROLLED_BACK' })
    expect(await names(open)).toEqual(['there'])
    expect((await open.read((session) => open.log.head(session))).position).toBe(0)
    await append(open, raised())
  })

  test.each(endings)('by %s inside of a savepoint, the whole unit fails', async (_how, sql) => {
    const open = await rollingBack()
    const unit = open.write(async (session) => {
      await open.log.append(session, [raised()])
      try {
        await session.savepoint(() => open.tx(session).run(sql))
      } catch {
        // As a batch does that parks one event and goes on with the next.
      }
      await open.log.append(session, [raised()])
    })
    await expect(unit).rejects.toMatchObject({ code: 'PABAL_ROLLED_BACK', message: expect.stringMatching(/UNIQUE|no/) })
    expect((await open.read((session) => open.log.head(session))).position).toBe(0)
  })
})

test('a savepoint that outlives its unit undoes nothing of the next one', async () => {
  const open = await withTable()
  const [inside, fail] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const forgotten: Promise<unknown>[] = []
  await open.write(async (session) => {
    forgotten.push(
      Promise.resolve(
        session.savepoint(async () => {
          inside.resolve()
          await fail.promise
        }),
      ),
    )
    await inside.promise
  })
  await open.write(async (session) => {
    const tx = open.tx(session)
    await session.savepoint(async () => {
      tx.run("INSERT INTO item (name) VALUES ('of the next')")
      fail.reject(new Undo())
      await expect(forgotten[0]).rejects.toBeInstanceOf(Undo)
    })
  })
  expect(await names(open)).toEqual(['of the next'])
})
