import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { eventually } from '../../test/support/eventually.ts'
import { testFolder } from '../../test/support/folder.ts'
import { importsOf } from '../../test/support/imports.ts'
import { delivery, hireCourier } from './delivery.ts'
import { completeOrder } from './direct/purchase.ts'
import { openDatabase, takenDirectly } from './direct/shop.ts'
import { CompleteOrder } from './purchase.ts'
import { createShop, taken } from './shop.ts'

const seoul = { orderId: '1', item: 'lamp', region: 'Seoul' }
const jeju = { orderId: '2', item: 'kettle', region: 'Jeju' }
const first = { purchase: ['1'], logistics: ['1'], delivery: ['1'] }
const both = { purchase: ['1', '2'], logistics: ['1', '2'], delivery: ['1', '2'] }
const source = (file: string): Promise<string> => readFile(new URL(file, import.meta.url), 'utf8')
const modulesThat = async (file: string): Promise<string[]> =>
  importsOf(await source(file)).flatMap(({ specifier }) => /^\.\/(delivery|logistics)\.ts$/.exec(specifier)?.[1] ?? [])

describe('direct calls', () => {
  test('fail together, and nothing of the order remains', () => {
    const db = openDatabase(':memory:')
    completeOrder(db, seoul)
    expect(() => completeOrder(db, jeju)).toThrow('no courier drives to Jeju')
    expect(takenDirectly(db)).toEqual(first)
    db.close()
  })

  test('make purchase know the others', async () => {
    expect(await modulesThat('direct/purchase.ts')).toEqual(['delivery', 'logistics'])
    expect(await modulesThat('purchase.ts')).toEqual([])
  })
})

describe('before-commit consumers', () => {
  test('fail together in one transaction: nothing of the order remains, no event either', async () => {
    const path = `${await testFolder()}/shop.db`
    await using shop = createShop('before-commit', () => path)
    await shop.send(CompleteOrder, seoul)
    await expect(shop.send(CompleteOrder, jeju)).rejects.toThrow('no courier drives to Jeju')
    expect(await taken(shop)).toEqual(first)
    const db = new DatabaseSync(path, { readOnly: true })
    expect(db.prepare('select key from pabal_purchase_event').all()).toEqual([{ key: '1' }])
    db.close()
  })

  test('need one database, and composition names the one that has another', async () => {
    const folder = await testFolder()
    expect(() => createShop('before-commit', (module) => `${folder}/${module}.db`)).toThrow(
      expect.objectContaining({
        code: 'PABAL_COMPOSITION_INVALID',
        message: expect.stringContaining("'logistics', handler 'pick-goods'"),
      }),
    )
  })
})

describe('durable consumers', () => {
  test.each([
    ['a file each', (folder: string) => (module: string) => `${folder}/${module}.db`],
    ['one file', (folder: string) => () => `${folder}/shop.db`],
  ])('fail alone, over %s: the purchase stands, the key waits, is repaired and handled', async (_, files) => {
    await using shop = createShop('durable', files(await testFolder()))
    await shop.start()
    await shop.send(CompleteOrder, jeju)
    await shop.send(CompleteOrder, seoul)
    await eventually('order 1 delivered behind order 2', async () => {
      const { logistics, delivery: booked } = await taken(shop)
      return logistics.length === 2 && booked.length === 1
    })
    expect(await taken(shop)).toEqual({ ...both, delivery: ['1'] })
    await expect(shop.settle({ withinMs: 0 })).rejects.toThrow("'book-courier' of 'delivery' has a key that will be")
    await shop.context(delivery).transaction(({ tx }) => hireCourier(tx, 'Jeju', 'Park'))
    await shop.settle()
    expect(await taken(shop)).toEqual(both)
  })
})

test('between the two only the phase changes', async () => {
  for (const module of ['delivery', 'logistics']) {
    const registrations = (await source(`${module}.ts`)).split('\n').filter((line) => line.includes('.consume('))
    expect(registrations).toHaveLength(2)
    const [before, durable] = registrations.map((line) => line.trim())
    expect(before?.replaceAll("'before-commit'", 'PHASE')).toBe(
      durable?.replace('durable:', 'PHASE:').replace("'durable'", 'PHASE'),
    )
  }
})

test('the story that the README shows is the one that is told', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--conditions=pabal-source',
    fileURLToPath(new URL('main.ts', import.meta.url)),
  ])
  const told = /```text\n([^]*?)```/.exec(await source('README.md'))?.[1]
  expect(stdout).toBe(told)
})
