/** A real broker of one's own: started on ports of its own, crashed, restarted with its data, stopped. */

import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { eventually } from '../../test/support/eventually.ts'
import { freePort, handOver, keeper, type Run, serverFolder, type ServerProcess } from './server-process.ts'

/** Disposing ends it at once, and removes its data. */
export interface Broker extends AsyncDisposable {
  readonly host: '127.0.0.1'
  /** Stays the same over restarts. */
  readonly port: number
  /** What its clients connect to. */
  readonly url: string
  /** Where it keeps its data, until it is disposed of. */
  readonly dataFolder: string
  /** Undefined while it is stopped. */
  readonly pid: number | undefined
  /** Waits until clients are served; recovers first after a crash. */
  start(): Promise<void>
  /** Lets it end in its own way, and waits until it has. */
  stop(): Promise<void>
  /** Kills it: what a power cut leaves, but for the operating system's cache. */
  crash(): Promise<void>
  /** Stops, or crashes if `immediate`, and starts on the same data. */
  restart(options?: { readonly immediate?: boolean }): Promise<void>
  /** What it wrote, over all its starts. */
  log(): Promise<string>
}

/** Where a broker stands. */
export interface Place {
  /** For its configuration. */
  readonly folder: string
  readonly dataFolder: string
  /** The first is its clients'. */
  readonly ports: readonly [number, ...number[]]
}

export interface Command extends Run {
  readonly program: string
  readonly args: readonly string[]
}

/** What one broker needs to be started. */
export interface Software {
  /** Such as `Redis`. */
  readonly name: string
  /** Ports that it listens on beside the one for clients; none unless given. */
  readonly morePorts?: number
  readonly url: (port: number) => string
  /** Prepares an empty place: configuration, and whatever must be there before the first start. */
  readonly prepare?: (place: Place) => Promise<void>
  /** A process that must run before it does, and ends after it. */
  readonly companion?: (place: Place) => Command & { readonly ready: () => Promise<boolean> }
  readonly command: (place: Place) => Command
  /** Whether clients are served; `log` gives what it wrote since this start. */
  readonly ready: (place: Place, log: () => Promise<string>) => Promise<boolean>
}

/** Recovery may have much to do, and the machine as well. */
const startMsMax = 60_000

export const startBroker = async (software: Software): Promise<Broker> => {
  const { name } = software
  const folder = await serverFolder(name.toLowerCase().replaceAll(/\W+/g, '-'))
  const dataFolder = join(folder, 'data')
  const logFile = join(folder, 'log')
  const beside = keeper({ logFile: join(folder, 'companion.log'), signal: 'TERM' })
  const servers = keeper({ logFile, signal: 'TERM', folder })
  let place: Place = { folder, dataFolder, ports: [0] }
  let running: ServerProcess | undefined
  let companion: ServerProcess | undefined
  let logStart = 0
  const recently = async (): Promise<string> => (await servers.log()).slice(logStart)

  const launchCompanion = async (): Promise<void> => {
    const needed = software.companion?.(place)
    if (needed === undefined) return
    const started = await beside.start(needed.program, needed.args, needed)
    companion = started
    await eventually(`${name} has its companion`, async () => {
      if (!started.running()) throw new Error(`${needed.program} has ended: ${tail(await beside.log())}`)
      return needed.ready()
    })
  }
  const launch = async (): Promise<void> => {
    logStart = (await servers.log()).length
    await launchCompanion()
    const { program, args, ...run } = software.command(place)
    const server = await servers.start(program, args, run)
    running = server
    await eventually(
      `${name} serves clients`,
      async () => {
        if (!server.running()) throw new Error(`${name} has ended: ${tail(await recently())}`)
        return software.ready(place, recently)
      },
      startMsMax,
    )
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = [running, companion]
    running = companion = undefined
    for (const server of ending) if (server?.running()) await server.end(signal)
  }
  const self: Broker = {
    host: '127.0.0.1',
    get port() {
      return place.ports[0]
    },
    get url() {
      return software.url(place.ports[0])
    },
    dataFolder,
    get pid() {
      return running?.running() ? running.pid : undefined
    },
    start: async () => {
      if (running?.running()) throw new Error(`this ${name} runs already`)
      await end('SIGKILL') // a companion that is left of one that ended by itself
      await launch()
    },
    stop: () => end('SIGTERM'),
    crash: () => end('SIGKILL'),
    restart: async ({ immediate = false } = {}) => {
      await end(immediate ? 'SIGKILL' : 'SIGTERM')
      await launch()
    },
    log: () => servers.log(),
    [Symbol.asyncDispose]: async () => {
      // Nobody will read this data again, so nothing of it has to be written.
      await end('SIGKILL')
      await beside.close()
      await servers.close()
    },
  }

  try {
    await mkdir(dataFolder)
    for (let attempt = 1; ; attempt++) {
      place = { folder, dataFolder, ports: await freePorts(1 + (software.morePorts ?? 0)) }
      try {
        await software.prepare?.(place)
        await handOver(folder)
        await launch()
        return self
      } catch (error) {
        await end('SIGKILL')
        // Another process can take a port between our look and the server's.
        const taken = /address already in use|eaddrinuse/i.test(`${String(error)} ${await recently()}`)
        if (attempt === 5 || !taken) throw error
      }
    }
  } catch (error) {
    await self[Symbol.asyncDispose]()
    throw error
  }
}

/** What a server sends first on a new connection, or in answer to `request`; empty when that does not come at once. */
export const firstReply = async (port: number, request = ''): Promise<Buffer> => {
  const socket = new Socket()
  try {
    await once(socket.connect(port, '127.0.0.1'), 'connect')
    socket.write(request, 'latin1')
    const [chunk] = (await once(socket, 'data', { signal: AbortSignal.timeout(replyMsMax) })) as [Buffer]
    return chunk
  } catch {
    return Buffer.alloc(0)
  } finally {
    socket.destroy()
  }
}

const replyMsMax = 1_000

const freePorts = async (count: number): Promise<[number, ...number[]]> => {
  const ports = new Set<number>([await freePort()])
  while (ports.size < count) ports.add(await freePort())
  return [...ports] as [number, ...number[]]
}

const tail = (log: string): string => log.split('\n').slice(-60).join('\n')
