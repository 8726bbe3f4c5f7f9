import { existsSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Page, pageAt, pages, rowsOf } from './pages.ts'

/** Links to files of the repository, from a page's own folder, without code blocks. */
const linksOf = ({ path, text }: Page): { readonly to: string; readonly heading: string | undefined }[] =>
  [...text.replaceAll(/^```[^]*?^```$/gm, '').matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [file = '', heading] = target.split('#')
      return { to: file === '' ? path : posix.join(posix.dirname(path), file), heading }
    })

/** As the usual renderers make them. */
const headingsOf = (text: string): string[] =>
  [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

test.each(pages().map((page) => [page.path, page] as const))('every link of %s leads somewhere', (_, page) => {
  const broken = linksOf(page).filter(
    ({ to, heading }) =>
      !existsSync(to) || (heading !== undefined && !headingsOf(readFileSync(to, 'utf8')).includes(heading)),
  )
  expect(broken).toEqual([])
})

test('there are links', () => {
  expect(pages().flatMap(linksOf).length).toBeGreaterThan(30)
})

describe.each(['README.md', 'README.ko.md', 'ARCHITECTURE.md'])('the guarantees of %s', (path) => {
  const rows = rowsOf(pageAt(path)).flatMap((cells) => {
    const number = /^P(\d+)\b/.exec(cells[0] ?? '')?.[1]
    return number === undefined ? [] : [{ guarantee: `P${number}`, cells }]
  })

  test('are all ten', () => {
    expect(rows.map(({ guarantee }) => guarantee)).toEqual(Array.from({ length: 10 }, (_, index) => `P${index + 1}`))
  })

  test.each(rows)('$guarantee is shown by a test that names it, or planned', ({ guarantee, cells }) => {
    const text = cells.join(' ')
    const shown = [...text.matchAll(/\]\((test\/[^)]+)\)/g)].map(([, file = '']) => readFileSync(file, 'utf8'))
    if (!/planned|예정/.test(text)) expect(shown.length).toBeGreaterThan(0)
    for (const source of shown) expect(source).toMatch(new RegExp(`\\b${guarantee}\\b`))
  })
})
