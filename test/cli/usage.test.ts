/** Bad input from the command line: one code, what happened, the remedy, and an exit code; and nothing is asked, ever. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { operatedFolder, type Ran } from '../support/cli.ts'

const remedied = (ran: Ran, code: string, exit: number): void => {
  expect(ran).toMatchObject({ code: exit, out: '' })
  expect(ran.err).toContain(`${code}: `)
  expect(ran.err).toContain('remedy: ')
  expect(ran.err).not.toMatch(/^\s+at /m)
}

describe('what is not understood', () => {
  test.each([
    [['statsu'], 'unknown command', 'status'],
    [['log', 'lst'], 'unknown command', 'list'],
    [['status', '--chekc'], 'unknown option', '--check'],
    [['status', 'extra'], 'too many arguments', ''],
    [['status', '-o', 'xml'], 'Allowed choices are', ''],
    [['log', 'list', '--limit', 'many'], '--limit must be a whole number', ''],
    [['log', 'list', '--limit', '0'], '--limit must be a whole number', ''],
    [['log', 'show'], "missing required argument 'id'", ''],
    [['consumer', 'reset', 'charge'], "required option '--to <place>'", ''],
    [['explain', 'PABAL_NOTHING'], 'there is no code PABAL_NOTHING', ''],
    [['status', '--timeout', 'soon'], '--timeout must be a time', ''],
  ])('%j is PABAL_USAGE', async (args, why, suggestion) => {
    const shop = await operatedFolder()
    const ran = await shop.pabal(args)
    remedied(ran, 'PABAL_USAGE', 2)
    expect(ran.err).toContain(why)
    expect(ran.err).toContain(suggestion)
  })

  test('nothing at all, or a noun alone, shows its help', async () => {
    const shop = await operatedFolder()
    for (const args of [[], ['dead']]) {
      const ran = await shop.pabal(args)
      expect(ran).toMatchObject({ code: 2, out: '', err: expect.stringContaining('Usage: pabal') })
    }
    expect(await shop.pabal(['--help'])).toMatchObject({ code: 0, err: '', out: expect.stringContaining('Exit codes') })
    expect(await shop.pabal(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
  })

  test('errors are JSON where the output is', async () => {
    const shop = await operatedFolder()
    const ran = await shop.pabal(['explain', 'nothing', '-o', 'json'])
    expect(ran).toMatchObject({ code: 2, out: '' })
    expect(JSON.parse(ran.err)).toMatchObject({ error: { code: 'PABAL_USAGE', exit: 2, retryable: false } })
  })
})

describe('a configuration', () => {
  const status = async (text: string, args: readonly string[] = []) => {
    const shop = await operatedFolder()
    shop.configure(text)
    return shop.pabal(['status', ...args])
  }

  test.each([
    ['throws', "throw new Error('no such host')", 'pabal.config.ts could not be loaded: Error: no such host'],
    ['does not parse', 'export default {', 'pabal.config.ts could not be loaded: SyntaxError'],
    ['imports what is not there', "import './missing.ts'", 'missing.ts'],
    ['has no default export', 'export const app = 1', 'has no default export'],
    ['exports something else', 'export default { contexts: [] }', 'exports object, not an app'],
    ['gives something else', 'export default async () => 42', 'exports a function that gives number'],
    ['rejects', "export default async () => { throw new TypeError('boom') }", 'TypeError: boom'],
    ['throws no error', "export default () => { throw 'a text' }", 'a text'],
  ])('that %s is PABAL_CONFIG_INVALID', async (_what, text, why) => {
    const ran = await status(text)
    remedied(ran, 'PABAL_CONFIG_INVALID', 2)
    expect(ran.err).toContain(why)
  })

  test('whose definitions are wrong keeps their own code', async () => {
    const ran = await status(
      "import { createApp } from 'pabal'\nexport default createApp({ contexts: [] })".replace(
        "'pabal'",
        JSON.stringify(`${process.cwd()}/src/index.ts`),
      ),
    )
    remedied(ran, 'PABAL_COMPOSITION_INVALID', 2)
  })

  test('is found in the folders above, and named by --config', async () => {
    const shop = await operatedFolder()
    mkdirSync(shop.file('src/deep'), { recursive: true })
    expect((await shop.pabal(['db', 'sql', 'ordering'], { below: 'src/deep' })).code).toBe(0)
    writeFileSync(shop.file('other.config.mjs'), 'export default 1')
    const other = await shop.pabal(['status', '--config', 'other.config.mjs'])
    remedied(other, 'PABAL_CONFIG_INVALID', 2)
    expect(other.err).toContain('other.config.mjs exports number')
    remedied(await shop.pabal(['status', '--config', 'nothing.ts']), 'PABAL_CONFIG_INVALID', 2)
  })

  test('that is not there is named with where it was looked for', async () => {
    const shop = await operatedFolder()
    rmSync(shop.file('pabal.config.ts'))
    const ran = await shop.pabal(['status'])
    remedied(ran, 'PABAL_CONFIG_INVALID', 2)
    expect(ran.err).toContain(`no pabal.config.ts in ${shop.folder} or above`)
  })

  test('that keeps timers and sockets open does not keep the command running', async () => {
    const shop = await operatedFolder()
    shop.configure(`setInterval(() => {}, 1000)\n${readFileSync(shop.file('pabal.config.ts'), 'utf8')}`)
    expect((await shop.pabal(['db', 'sql', 'ordering'])).code).toBe(0)
  })
})

test('an error without a code is told without a stack, unless it is asked for', async () => {
  const shop = await operatedFolder()
  shop.configure(
    "export default { '~pabal': { open: () => { throw new RangeError('not ours') } }, stop: async () => {} }",
  )
  const ran = await shop.pabal(['status'])
  expect(ran).toMatchObject({ code: 1, out: '', err: expect.stringContaining('RangeError: not ours') })
  expect(ran.err).not.toMatch(/^\s+at /m)
  expect((await shop.pabal(['status'], { env: { PABAL_DEBUG: '1' } })).err).toMatch(/^\s+at /m)
})

test('a command that takes too long ends with a code', async () => {
  const shop = await operatedFolder()
  shop.configure('export default () => new Promise(() => setInterval(() => {}, 1000))')
  remedied(await shop.pabal(['status', '--timeout', '300ms']), 'PABAL_COMMAND_TIMEOUT', 3)
})
