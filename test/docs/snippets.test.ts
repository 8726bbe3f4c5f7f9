/**
 * Every `ts` block of the docs compiles and runs, as a user's own files would.
 *
 * The blocks of a page are one module, in their order; a block with a file name (```ts contracts.ts) is a module of its own
 * that the others may import. `shop.ts` is test/face/shop.ts. A `text` block marked `prints` is all that the page prints.
 */

import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pageAt, pages, type Page } from './pages.ts'

const run = promisify(execFile)

// Inside the repository, so that `pabal` and `zod` resolve as they do for its own tests; ignored by git.
const root = resolve(`.data/snippets-${process.pid}`)
const isCode = ({ language }: { readonly language: string }): boolean => language === 'ts'
// Contributors' pages show parts of files.
const forUsers = ({ path }: Page): boolean => path !== 'CONTRIBUTING.md' && !path.startsWith('docs/decisions/')
const withCode = pages().filter((page) => forUsers(page) && page.blocks.some(isCode))

const folderOf = ({ path }: Page): string => join(root, path.replaceAll(/[^a-z0-9]+/gi, '-'))
const isFile = (info: string): boolean => info.endsWith('.ts')

const writeModules = (page: Page): void => {
  const folder = folderOf(page)
  mkdirSync(folder, { recursive: true })
  copyFileSync('test/face/shop.ts', join(folder, 'shop.ts'))
  const code = page.blocks.filter(isCode)
  for (const { info, text } of code) if (isFile(info)) writeFileSync(join(folder, info), text)
  const rest = code.filter(({ info }) => !isFile(info)).map(({ text }) => text)
  writeFileSync(join(folder, 'page.ts'), `${rest.join('\n')}\nexport {}\n`)
}

beforeAll(() => {
  for (const page of withCode) writeModules(page)
  writeFileSync(
    join(root, 'tsconfig.json'),
    JSON.stringify({ extends: resolve('tsconfig.json'), include: ['.'], exclude: [] }),
  )
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

test('there are pages with code', () => {
  expect(withCode.map(({ path }) => path)).toContain('README.md')
})

test('all code of the docs compiles', async () => {
  const { stdout } = await run(resolve('node_modules/.bin/tsc'), ['-p', root]).catch((error: unknown) => ({
    stdout: (error as { stdout: string }).stdout,
  }))
  expect(stdout).toBe('')
})

describe('the code of', () => {
  test.each(withCode.map((page) => [page.path, page] as const))('%s runs, and prints what it says', async (_, page) => {
    const folder = folderOf(page)
    const { stdout, stderr } = await run(process.execPath, ['--conditions=pabal-source', 'page.ts'], { cwd: folder })
    expect(stderr).toBe('')
    const printed = page.blocks.filter(({ info }) => info === 'prints').map(({ text }) => text)
    expect(stdout).toBe(printed.join(''))
  })
})

test('both READMEs show the same code', () => {
  const code = (path: string) =>
    pageAt(path)
      .blocks.filter(isCode)
      .map(({ text }) => text.replaceAll(/ +\/\/ .*$/gm, ''))
  expect(code('README.ko.md')).toEqual(code('README.md'))
})
