/** The pages that people read, and what their tests look at: code blocks, tables, links. */

import { readdirSync, readFileSync } from 'node:fs'

export interface Block {
  readonly language: string
  /** What follows the language: a file name, or `prints`. */
  readonly info: string
  readonly text: string
}

export interface Page {
  /** From the repository's root. */
  readonly path: string
  readonly text: string
  readonly blocks: readonly Block[]
}

const atRoot = ['README.md', 'README.ko.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'CONTRIBUTING.md']

export const pageAt = (path: string): Page => {
  const text = readFileSync(path, 'utf8')
  const blocks = [...text.matchAll(/^```(\w*)[ \t]*([^\n]*)\n([^]*?)^```$/gm)].map(
    ([, language = '', info = '', code = '']) => ({ language, info, text: code }),
  )
  return { path, text, blocks }
}

export const pages = (): Page[] => [
  ...atRoot.map(pageAt),
  ...['docs', 'examples', 'bench'].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.md') && !path.includes('node_modules'))
      .map((path) => pageAt(`${folder}/${path.replaceAll('\\', '/')}`)),
  ),
]

/** The rows of every table of a page, cell by cell, without heads and rules. */
export const rowsOf = ({ text }: Page): string[][] => {
  const lines = text.split('\n')
  return lines.flatMap((line, index) => {
    const isRow = line.startsWith('|') && !/^\|[ :|-]+\|$/.test(line)
    const isHead = /^\|[ :|-]+\|$/.test(lines[index + 1] ?? '')
    if (!isRow || isHead) return []
    return [
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    ]
  })
}

/** The texts between backticks. */
export const codeIn = (text: string): string[] => [...text.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)
