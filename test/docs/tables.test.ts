import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { ddlOf, schemaName } from '../../src/store/postgres/migrate.ts'
import { migrations, prefixOf } from '../../src/store/sqlite/migrate.ts'
import { codeIn, pageAt, rowsOf } from './pages.ts'

type Tables = Record<string, string[]>

/** Tables and their columns, as the migrations make them. */
const madeOnSqlite = (): Tables => {
  const prefix = prefixOf('shop')
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

/** The same by the text of the migrations, so that no server is needed. */
const madeOnPostgres = (): Tables => {
  const schema = schemaName('pabal_shop')
  const text = ddlOf(schema).replaceAll(/--.*$/gm, '')
  const tables = [...text.matchAll(/^CREATE TABLE "pabal_shop"\.(\w+) \(([^;]*);/gm)]
  return Object.fromEntries(tables.map(([, name = '', body = '']) => [name, columnsIn(body).toSorted()]))
}

/** What stands before a type: the first word of each part, without those of constraints. */
const columnsIn = (body: string): string[] =>
  body
    .replace(/\) (?:WITH|PARTITION)\b[^]*$/, '')
    // What is in brackets belongs to the part before it.
    .replaceAll(/\([^()]*\)/g, '')
    .split(',')
    .map((part) => part.trim().split(/\s/, 1)[0] ?? '')
    .filter((word) => /^[a-z_]+$/.test(word))

test.each([
  ['docs/reference/tables.md', madeOnSqlite()],
  ['docs/reference/tables-postgres.md', madeOnPostgres()],
])('%s has every table with every column, and no other', (path, made) => {
  const { text, ...page } = pageAt(path)
  const sections = text.split(/^## /m).slice(1)
  const described = sections.map((section) => [
    codeIn(section)[0],
    rowsOf({ ...page, text: section })
      .map(([column = '']) => codeIn(column)[0] ?? '')
      .toSorted(),
  ])
  expect(Object.keys(made).length).toBeGreaterThan(10)
  expect(Object.fromEntries(described)).toEqual(made)
})
