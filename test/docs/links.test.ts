import { existsSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { expect, test } from 'vitest'
import { type Page, pages } from './pages.ts'

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
