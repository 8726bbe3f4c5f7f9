/** The table of allowed imports, and the tests that hold the files of `src/` to it. */
import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { posix } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Import, importsOf } from './support/imports.ts'

/** A folder imports from the rows above its own; folders on one row do not know each other. */
const rows = [
  ['core'],
  ['event'],
  ['store'],
  ['context'],
  ['subscription'], // runs its handlers in the units of work of a context
  ['exchange', 'process', 'view'],
  ['app'],
  ['operate'],
  ['http'],
  ['cli'],
]

/** Each folder below a port is an adapter: it imports its port, `event` and `core`, and of other adapters those named here. */
const ports = ['store', 'exchange']
const adapterImports = ['event', 'core']
const adapterBuildsOn: Record<string, readonly string[]> = {
  'store/kysely': ['store/sqlite', 'store/postgres'],
  'exchange/redis-pubsub': ['exchange/redis-streams'],
}

/** Who may name an adapter, beside the entry points. */
const adapterUsers = ['app', 'cli']

/** Imports anything, and is imported by nothing. */
const testing = 'testing'

/** What a user imports; nothing in `src` does. `contract.ts` and all that it reaches run where Node is not. */
const entryPoints = ['src/index.ts', 'src/contract.ts']
const nodeFree = 'src/contract.ts'

type Sources = ReadonlyMap<string, string>

const sources: Sources = new Map(
  readdirSync('src', { recursive: true, encoding: 'utf8' })
    .map((path) => `src/${path.replaceAll('\\', '/')}`)
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [path, readFileSync(path, 'utf8')]),
)

describe('the files of src', () => {
  test('there are files, and they import each other', () => {
    expect(sources.size).toBeGreaterThan(0)
    expect([...sources.values()].flatMap(importsOf).some(({ specifier }) => specifier.startsWith('.'))).toBe(true)
  })

  test('every import obeys the table', () => {
    expect(violations(sources)).toEqual([])
  })

  test('the contract entry point reaches nothing of Node', () => {
    expect([...sources.keys()]).toContain(nodeFree)
    expect(nodeReachedFrom(nodeFree, sources)).toEqual([])
  })

  test('every package that they import is one that pabal brings or asks for', () => {
    const { dependencies, peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest
    const shipped = Object.keys({ ...dependencies, ...peerDependencies })
    const missing = [...sources].flatMap(([path, text]) =>
      isTest(path)
        ? []
        : packagesIn(text)
            .filter((name) => !shipped.includes(name))
            .map((name) => `${path} imports ${name}`),
    )
    expect(missing).toEqual([])
  })

  test('no file exports all of another', () => {
    expect([...sources].filter(([, text]) => /^export\s*\*/m.test(text)).map(([path]) => path)).toEqual([])
  })
})

describe('the test of the files', () => {
  const report = (from: string, to: string) => violations(new Map([[from, `import { x } from '${to}'`]]))

  test.each([
    ['src/context/context.ts', '../store/log.ts'],
    ['src/context/context.ts', './unit.ts'],
    ['src/app/app.ts', '../store/sqlite/index.ts'],
    ['src/cli/main.ts', '../exchange/kafka/index.ts'],
    ['src/index.ts', './exchange/in-process/index.ts'],
    ['src/store/sqlite/log.ts', '../log.ts'],
    ['src/store/sqlite/index.ts', './log.ts'],
    ['src/store/kysely/log.ts', '../sqlite/log.ts'],
    ['src/exchange/kafka/transport.ts', '../../event/envelope.ts'],
    ['src/testing/simulation.ts', '../store/sqlite/index.ts'],
    ['src/store/sqlite/log.test.ts', '../../testing/store-suite.ts'],
    ['src/core/ids.ts', 'uuid'],
  ])('%s may import %s', (from, to) => {
    expect(report(from, to)).toEqual([])
  })

  test.each([
    ['src/core/clock.ts', '../event/envelope.ts', 'core may import nothing'],
    ['src/store/log.ts', '../context/unit.ts', 'store may import core, event'],
    ['src/context/unit.ts', '../subscription/lane.ts', 'context may import core, event, store'],
    ['src/view/replica.ts', '../process/saga.ts', 'view may import core, event, store, context, subscription'],
    ['src/store/log.ts', './sqlite/log.ts', 'name an adapter'],
    ['src/operate/status.ts', '../store/sqlite/log.ts', 'name an adapter'],
    ['src/store/sqlite/log.ts', '../kysely/log.ts', 'name an adapter'],
    ['src/exchange/kafka/transport.ts', '../../store/log.ts', 'an adapter imports its port (exchange), event, core'],
    ['src/app/app.ts', '../testing/simulation.ts', 'imports testing'],
    ['src/index.ts', './testing/index.ts', 'imports testing'],
    ['src/app/app.ts', '../index.ts', 'entry point'],
    ['src/app/app.ts', 'pabal/contract', 'relative path'],
    ['src/app/app.ts', '../../examples/shop/app.ts', 'leaves src'],
    ['src/manager/app.ts', '../core/ids.ts', 'src/manager is not in the table'],
  ])('%s importing %s is reported', (from, to, rule) => {
    expect(report(from, to)).toEqual([expect.stringContaining(rule)])
    expect(report(from, to)[0]).toContain(from)
  })

  test('each way to import is seen, and nothing in comments, strings and templates is', () => {
    const text = `
      import a, { type B } from './1.ts'
      import type { C } from "./2.ts"
      import './3.ts'
      export { d } from './4.ts' // import './not.ts'
      /* export { e } from './not.ts' */
      const quoted = "import f from './not.ts'" + /[\`'"]/.source + \`import './not.ts'\`
      const g = await import('./5.ts')
      type H = import('./6.ts').H
      export {
        i, // its comment
      } from './7.ts'
    `
    expect(importsOf(text).map(({ specifier }) => specifier)).toEqual([1, 2, 3, 4, 5, 6, 7].map((n) => `./${n}.ts`))
  })

  test('a contract that reaches Node over another file is reported with its way', () => {
    const planted = new Map([
      ['src/contract.ts', "export { a } from './event/a.ts'"],
      ['src/event/a.ts', "import { b } from '../core/b.ts'"],
      ['src/core/b.ts', "import { randomUUID } from 'node:crypto'\nimport fs from 'fs'"],
    ])
    expect(nodeReachedFrom('src/contract.ts', planted)).toEqual([
      'src/contract.ts > src/event/a.ts > src/core/b.ts imports node:crypto',
      'src/contract.ts > src/event/a.ts > src/core/b.ts imports fs',
    ])
  })
})

function violations(files: Sources): string[] {
  return [...files].flatMap(([from, text]) =>
    isTest(from)
      ? []
      : importsOf(text).flatMap((named) => {
          const rule = brokenRule(from, named)
          return rule === undefined ? [] : [`${from}:${named.line} imports ${named.specifier}: ${rule}`]
        }),
  )
}

/** The sentence that the import breaks, or undefined. */
function brokenRule(path: string, { specifier }: Import): string | undefined {
  const from = placeOf(path)
  if (from.folder !== testing && from.row === -1 && !from.entryPoint) return `src/${from.folder} is not in the table`
  if (/^pabal(\/|$)/.test(specifier)) return 'inside src a file is named by its relative path'
  if (!specifier.startsWith('.')) return undefined
  const target = resolved(path, specifier)
  if (!target.startsWith('src/')) return 'it leaves src'
  const to = placeOf(target)

  if (from.folder === testing) return undefined
  if (to.folder === testing) return 'nothing in src imports testing'
  if (from.entryPoint) return undefined
  if (to.entryPoint) return 'an entry point is for users; import the file that defines it'
  if (to.adapter !== undefined && to.adapter !== from.adapter) {
    const builtOn = from.adapter !== undefined && adapterBuildsOn[from.adapter]?.includes(to.adapter)
    if (builtOn || adapterUsers.includes(from.folder)) return undefined
    return `only ${adapterUsers.join(', ')}, ${testing} and the entry points name an adapter (${to.adapter})`
  }
  if (from.folder === to.folder) return undefined
  if (from.adapter !== undefined)
    return adapterImports.includes(to.folder)
      ? undefined
      : `an adapter imports its port (${from.folder}), ${adapterImports.join(', ')}, nothing else of src`
  if (to.row !== -1 && to.row < from.row) return undefined
  return `${from.folder} may import ${rows.slice(0, from.row).flat().join(', ') || 'nothing'} (and itself), not ${to.folder}`
}

interface Place {
  /** Directly below `src`; the file itself for an entry point. */
  readonly folder: string
  readonly row: number
  readonly adapter: string | undefined
  readonly entryPoint: boolean
}

function placeOf(path: string): Place {
  const [, folder = '', below, ...rest] = path.split('/')
  return {
    folder,
    row: rows.findIndex((row) => row.includes(folder)),
    adapter: ports.includes(folder) && rest.length > 0 ? `${folder}/${below}` : undefined,
    entryPoint: entryPoints.includes(path),
  }
}

/** The modules of Node that `entry` reaches, each with the first way to it. */
function nodeReachedFrom(entry: string, files: Sources): string[] {
  const seen = new Set<string>()
  const walk = (path: string, way: readonly string[]): string[] => {
    if (seen.has(path)) return []
    seen.add(path)
    const here = [...way, path]
    return importsOf(files.get(path) ?? '').flatMap(({ specifier }) => {
      if (specifier.startsWith('.')) return walk(resolved(path, specifier), here)
      return isBuiltin(specifier) ? [`${here.join(' > ')} imports ${specifier}`] : []
    })
  }
  return walk(entry, [])
}

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

function packagesIn(text: string): string[] {
  return importsOf(text)
    .map(({ specifier }) => specifier)
    .filter((specifier) => !specifier.startsWith('.') && !isBuiltin(specifier))
    .map((specifier) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier)
}

function resolved(path: string, specifier: string): string {
  return posix.normalize(posix.join(posix.dirname(path), specifier))
}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts')
}
