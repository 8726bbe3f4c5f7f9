import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { codeIn, pageAt, rowsOf } from './pages.ts'

const page = pageAt('ARCHITECTURE.md')

/** The paths of the tree that the page draws, by their indentation. */
const drawn = (): string[] => {
  const tree = page.blocks.find(({ text }) => text.startsWith('src/'))!.text
  const above: string[] = []
  return tree
    .trimEnd()
    .split('\n')
    .map((line) => {
      const depth = /^ */.exec(line)![0].length / 2
      above.length = depth
      above.push(line.trim().split(' ', 1)[0]!)
      return above.join('')
    })
}

const folders = (): string[] =>
  readdirSync('src', { recursive: true, encoding: 'utf8' })
    .map((path) => `src/${path.replaceAll('\\', '/')}`)
    .filter((path) => statSync(path).isDirectory())
    .map((path) => `${path}/`)

describe('the map', () => {
  test('draws every folder of src', () => {
    expect(folders().filter((folder) => !drawn().includes(folder))).toEqual([])
  })

  test('draws nothing that is not there', () => {
    expect(drawn().filter((path) => !existsSync(path))).toEqual([])
  })

  const named = [...page.text.matchAll(/`([\w.]+)`\s+in\s+`([\w/-]+\.ts)`/g)].map(([, name = '', path = '']) => [
    name,
    path,
  ])
  test.each(named)('%s is in %s', (name, path) => {
    const text = readFileSync(`src/${path}`, 'utf8')
    for (const part of name.split('.')) expect(text).toMatch(new RegExp(`\\b${part}\\b`))
  })

  test('names functions and files', () => {
    expect(named.length).toBeGreaterThan(20)
  })

  test('has the table of imports that the layers test holds the files to', () => {
    const rows = /^const rows = \[([^]*?)^\]/m.exec(readFileSync('test/layers.test.ts', 'utf8'))![1]!
    const held = rows
      .trim()
      .split('\n')
      .map((line) => [...line.matchAll(/'(\w+)'/g)].map(([, folder]) => folder))
    const shown = rowsOf(page)
      .filter(([row]) => /^\d+$/.test(row ?? ''))
      .map(([, names = '']) => codeIn(names))
    expect(shown).toEqual(held)
  })
})
