/**
 * Real servers as children of a process, a test's or the shop's: each runs as an account that it accepts, in a folder that this account reaches, on a
 * port of its own, and outlives neither the process nor its kill.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chown, mkdtemp, open, readFile, rm, stat } from 'node:fs/promises'
import { createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

export interface Account {
  readonly uid: number
  readonly gid: number
}

/** Whom servers run as that refuse to be root: undefined, which is ourselves, where we are not root. */
export const account: Account | undefined = process.getuid?.() === 0 ? unprivileged() : undefined

function unprivileged(): Account {
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, name], { encoding: 'utf8' }))
    if (uid?.status === 0 && gid?.status === 0) return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  }
  throw new Error('this is root, and the machine has no account "postgres" or "nobody" for its servers')
}

/** Whether the servers' account can get at `path`: each folder above it must let the account pass. */
export const reaches = async (path: string): Promise<boolean> => {
  if (account === undefined) return true
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const { mode, uid } = await stat(folder)
    if ((mode & (uid === account.uid ? 0o100 : 0o001)) === 0) return false
    if (folder === dirname(folder)) return true
  }
}

/** Where temporary files go that the servers' account reads. */
export const openFolder = async (): Promise<string> => {
  for (const folder of [tmpdir(), '/tmp', '/var/tmp']) if (await reaches(join(folder, 'file'))) return folder
  throw new Error(`no temporary folder is open to the servers' account; ${tmpdir()} is private`)
}

/** A new folder that belongs to the servers' account. */
export const serverFolder = async (name: string): Promise<string> => {
  const folder = await mkdtemp(join(await openFolder(), `pabal-${name}-`))
  if (account !== undefined) await chown(folder, account.uid, account.gid)
  return folder
}

/** Gives a folder and all that is in it to the servers' account. */
export const handOver = async (folder: string): Promise<void> => {
  if (account !== undefined) await finished(spawn('chown', ['-R', `${account.uid}:${account.gid}`, folder]), 'chown')
}

/**
 * A loopback port that nobody listens on. Below the range from which systems take the ports of outgoing connections: one of
 * those could sit on the port while its server restarts, and a client that retries there can end up connected to itself.
 */
export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 17_000)
    if (await isFree(port)) return port
  }
}

const isFree = (port: number): Promise<boolean> => {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const probe = createServer()
    .once('error', () => resolve(false))
    .listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  return promise
}

/** Whether somebody listens on that loopback port. */
export const accepts = async (port: number): Promise<boolean> => {
  const socket = new Socket()
  try {
    await once(socket.connect(port, '127.0.0.1'), 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** Waits for a command that does its work and ends; its complaint becomes the error. */
export const finished = async (child: ChildProcess, what: string): Promise<string> => {
  let said = ''
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  if (code !== 0) throw new Error(`${what} ended with ${code ?? signal}: ${said}`)
  return said
}

/** Where a server's program stands; the folders of services are not on everybody's PATH. */
export const findProgram = (name: string): string | undefined =>
  [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin']
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path))

/** What every server's process gets: the account, and nothing of our environment that it could take for its settings. */
export const surroundings = {
  ...account,
  cwd: '/',
  env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' },
} as const

export interface ServerProcess {
  readonly pid: number
  /** Resolves when it has ended, by whatever cause. */
  readonly ended: Promise<void>
  running(): boolean
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<void>
}

export interface Run {
  /** Beside what every server gets. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Not as the servers' account: for what accepts root, and stands in a clone of this repository, which may be private. */
  readonly asOurselves?: boolean | undefined
}

/** Whoever starts server processes in one folder: the folder goes with the last of them when this process dies. */
export interface Keeper {
  /** Starts a program that writes its output to the file `log`, which grows. */
  start(program: string, args: readonly string[], run?: Run): Promise<ServerProcess>
  /** What its processes wrote. */
  log(): Promise<string>
  /** Ends the guard, and removes the folder if it is the keeper's. */
  close(): Promise<void>
}

/**
 * A shell reads pids from a pipe of ours until that ends, which it does however we end. Then it sends the last one `signal`,
 * and after five seconds SIGKILL, and removes the folder. An empty line means that the server has ended already.
 */
const guard = `
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
  kill "-$1" "$pid"
  n=0
  while [ $n -lt 50 ] && kill -0 "$pid"; do sleep 0.1; n=$((n + 1)); done
  kill -KILL "$pid"
fi
[ -z "$2" ] || rm -rf "$2"`

export const keeper = (options: {
  readonly logFile: string
  /** How the guard ends a server at once. */
  readonly signal: 'QUIT' | 'TERM'
  /** Removed at the end. */
  readonly folder?: string | undefined
}): Keeper => {
  const { logFile, signal, folder } = options
  const watch = spawn('sh', ['-c', guard, 'sh', signal, folder ?? ''], {
    detached: true, // the terminal's ^C must not reach it before us
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watch.unref()
  watch.stdin.on('error', () => {})
  // A pipe is a socket to Node, and would keep the process alive.
  ;(watch.stdin as unknown as { unref(): void }).unref()

  return {
    start: async (program, args, run = {}) => {
      const log = await open(logFile, 'a')
      try {
        const child = spawn(program, args, {
          ...(run.asOurselves === true ? {} : account),
          cwd: surroundings.cwd,
          env: { ...surroundings.env, ...run.env },
          detached: true,
          stdio: ['ignore', log.fd, log.fd],
        })
        const ended = once(child, 'exit').then(() => {})
        if (child.pid === undefined) await ended // rejects with the reason
        watch.stdin.write(`${child.pid}\n`)
        child.once('exit', () => watch.stdin.write('\n'))
        child.unref()
        return {
          pid: child.pid!,
          ended,
          running: () => child.exitCode === null && child.signalCode === null,
          end: async (how) => {
            child.ref()
            child.kill(how)
            await ended
          },
        }
      } finally {
        await log.close()
      }
    },
    log: () => readFile(logFile, 'utf8').catch(() => ''),
    close: async () => {
      watch.stdin.end()
      if (folder !== undefined) await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
