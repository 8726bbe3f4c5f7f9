/** The `pabal` command as a process of its own, over the shop of `operated-shop.ts` in a folder. */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Child, startChild } from './child.ts'
import { eventually } from './eventually.ts'
import { testFolder } from './folder.ts'
import { failingFile, type Options, type Order } from './operated-shop.ts'

const program = resolve('test/support/operated-shop.ts')
const main = resolve('src/cli/main.ts')

/** Each command is a new process: without it most of its time is spent on stripping types. */
const compiled = join(tmpdir(), 'pabal-test-compiled')

export interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
  /** stdout as JSON. */
  json<T = Record<string, unknown>>(): T
  /** stdout as a line of JSON each. */
  rows<T = Record<string, unknown>>(): T[]
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
  /** A folder below the shop's. */
  readonly below?: string
}

export interface OperatedFolder {
  readonly folder: string
  readonly file: (name: string) => string
  /** Runs `pabal …` in the folder. */
  pabal(args: readonly string[], options?: RunOptions): Promise<Ran>
  /** Another configuration. */
  configure(text: string): void
  /** The handlers that the configuration has. */
  configureShop(options: Options): void
  /** The app in a process of its own; its handlers run. */
  start(options?: Options): Promise<RunningShop>
  /** Which keys fail, with which message, from now on. */
  fail(failing: Readonly<Record<string, Readonly<Record<string, string>>>>): void
  /** Rows of a context's database, by a connection of its own. */
  rows<T = Record<string, unknown>>(context: string, sql: string): T[]
  /** Everything that is stored, a fingerprint for each table, to see that nothing was changed. */
  dump(): Record<string, string>
}

export interface RunningShop extends Child {
  place(orders: readonly Order[]): void
  stop(): Promise<void>
}

/** A new folder that is gone after the test, or one that outlives it. */
export const operatedFolder = async (given?: string): Promise<OperatedFolder> => {
  const folder = given ?? (await testFolder())
  const file = (name: string) => join(folder, name)
  const configure = (text: string) => writeFileSync(file('pabal.config.ts'), text)
  const configureShop = (options: Options) =>
    configure(
      `import { createOperatedShop } from ${JSON.stringify(program)}\nexport default () => createOperatedShop(import.meta.dirname, ${JSON.stringify(options)})\n`,
    )
  configureShop({})
  const rows = <T>(context: string, sql: string): T[] => {
    const db = new DatabaseSync(file(`${context}.db`), { readOnly: true, timeout: 5_000 })
    try {
      return db.prepare(sql).all() as T[]
    } finally {
      db.close()
    }
  }
  return {
    folder,
    file,
    configure,
    configureShop,
    rows,
    pabal: (args, options) => run(folder, args, options),
    start: async (options = {}) => {
      const child = startChild({ file: program }, folder, JSON.stringify(options))
      await child.said('started')
      return {
        ...child,
        place: (orders) => child.tell(`place ${JSON.stringify(orders)}`),
        stop: async () => {
          child.tell('stop')
          await child.said('stopped')
          await child.ended
        },
      }
    },
    fail: (failing) => writeFileSync(failingFile(folder), JSON.stringify(failing)),
    dump: () =>
      Object.fromEntries(
        ['ordering', 'shipping'].flatMap((context) =>
          rows<{ name: string }>(context, "select name from sqlite_master where type = 'table'").map(({ name }) => [
            `${context}.${name}`,
            createHash('sha256')
              .update(JSON.stringify(rows(context, `select * from ${name}`)))
              .digest('hex')
              .slice(0, 12),
          ]),
        ),
      ),
  }
}

const run = async (
  folder: string,
  args: readonly string[],
  { env = {}, input, below }: RunOptions = {},
): Promise<Ran> => {
  const cwd = below === undefined ? folder : join(folder, below)
  const child = spawn(process.execPath, ['--conditions=pabal-source', main, ...args], {
    cwd,
    env: { PATH: process.env['PATH'], HOME: cwd, NODE_COMPILE_CACHE: compiled, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
  child.stdin.end(input ?? '')
  const [code] = (await once(child, 'close')) as [number | null]
  return {
    code,
    out,
    err,
    json: <T>() => JSON.parse(out) as T,
    rows: <T>() =>
      out
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as T),
  }
}

/** Waits until the number that a query gives is as expected. */
export const counted = async (shop: OperatedFolder, context: string, sql: string, expected: number): Promise<void> => {
  let last: unknown
  await eventually(`${sql} gives ${expected}`, () => {
    last = Object.values(shop.rows(context, sql)[0] ?? { n: undefined })[0]
    return last === expected
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it gives ${String(last)}`)
  })
}
