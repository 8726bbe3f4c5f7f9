/** The packages that pabal is compared with: the bench's own, installed at their first use, never with pabal. */

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const folder = import.meta.dirname
const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
  dependencies: Readonly<Record<string, string>>
}

const manifestOf = (name: string): string => join(folder, 'node_modules', name, 'package.json')

const isInstalled = (name: string): boolean => existsSync(manifestOf(name)) && versionOf(name) === dependencies[name]

const versionOf = (name: string): string =>
  (JSON.parse(readFileSync(manifestOf(name), 'utf8')) as { version: string }).version

export const install = (): void => {
  if (Object.keys(dependencies).every(isInstalled)) return
  process.stderr.write('installing what pabal is compared with …\n')
  const { status } = spawnSync('npm', ['ci', '--prefix', folder, '--no-audit', '--no-fund'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) throw new Error('npm ci --prefix bench failed')
}

/** The name with its version, for tables. */
export const labelOf = (name: string): string => `${name} ${dependencies[name]}`

/**
 * Loads a package as `T`: the small part of its types that the caller uses and declares by itself, because the repository is
 * checked without these packages.
 */
export const load = async <T>(name: string): Promise<T> => {
  install()
  const resolved = createRequire(join(folder, 'package.json')).resolve(name)
  const loaded = (await import(pathToFileURL(resolved).href)) as { default?: object }
  // A CommonJS package whose exports Node cannot tell has them all in its default.
  return { ...loaded.default, ...loaded } as T
}
