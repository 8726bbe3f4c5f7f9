import type { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { createProgram } from '../../src/cli/program.ts'
import { pages } from './pages.ts'

const program = createProgram(async () => undefined)

/** Every `npx pabal …` and `npm run -s pabal -- …` of the pages, word by word. */
const commands = pages().flatMap(({ path, text }) =>
  [...text.matchAll(/(?:npx pabal|npm run -s pabal --) ([^`#\n]+)/g)].map(
    ([, line = '']) => [path, line.trim().split(/\s+/)] as const,
  ),
)

const follow = (words: readonly string[]): { readonly command: Command; readonly rest: readonly string[] } => {
  let command: Command = program
  let at = 0
  for (; at < words.length; at++) {
    const next = command.commands.find((candidate) => candidate.name() === words[at])
    if (next === undefined) break
    command = next
  }
  return { command, rest: words.slice(at) }
}

describe('the command lines of the docs', () => {
  test('there are some', () => {
    expect(commands.length).toBeGreaterThan(5)
  })

  test.each(commands)('%s: %j is one that there is', (_, words) => {
    const { command, rest } = follow(words)
    expect(command.commands).toEqual([])
    const options = [...command.options, ...program.options].map(({ long }) => long)
    const given = rest.filter((word, index) => !word.startsWith('-') && !(rest[index - 1] ?? '').startsWith('--'))
    for (const word of rest.filter((candidate) => candidate.startsWith('--'))) expect(options).toContain(word)
    for (const option of command.options.filter(
      ({ mandatory, defaultValue }) => mandatory && defaultValue === undefined,
    ))
      expect(rest).toContain(option.long)
    const required = command.registeredArguments.filter((argument) => argument.required)
    expect(given.length).toBeGreaterThanOrEqual(required.length)
    expect(given.length).toBeLessThanOrEqual(command.registeredArguments.length)
  })
})
