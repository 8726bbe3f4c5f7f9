import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { migrations, prefixOf } from '../../src/store/sqlite/migrate.ts'
import { codeIn, pageAt, rowsOf } from './pages.ts'

const prefix = prefixOf('shop')

/** Tables and their columns, as the migrations make them. */
const made = (): Record<string, string[]> => {
  const db = new DatabaseSync(':memory:')
  for (const { sql } of migrations) db.exec(sql(prefix))
  const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'pabal%'").all()
  const columns = (table: string): string[] =>
    db
      .prepare('SELECT name FROM pragma_table_info(?)')
      .all(table)
      .map(({ name }) => String(name))
  return Object.fromEntries(
    tables.map(({ name }) => [String(name).slice(prefix.length), columns(String(name)).toSorted()]),
  )
}

test('the page has every table with every column, and no other', () => {
  const { text, ...page } = pageAt('docs/reference/tables.md')
  const sections = text.split(/^## /m).slice(1)
  const described = sections.map((section) => [
    codeIn(section)[0],
    rowsOf({ ...page, text: section })
      .map(([column = '']) => codeIn(column)[0] ?? '')
      .toSorted(),
  ])
  expect(Object.fromEntries(described)).toEqual(made())
})
