/** A proxy in front of a server that does to its connections what networks do: hold, delay, lose, reset. */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { postgresStatements, type Reader } from './postgres-wire.ts'

export interface FaultProxy extends AsyncDisposable {
  readonly port: number
  /** How many clients are connected. */
  readonly connections: number
  /** The same URL, by way of the proxy. */
  url(direct: string): string
  /** Holds all bytes in both directions, of connections that are there and that come. They stay open, and hear of no end. */
  freeze(): void
  /** Lets what was held go on. */
  thaw(): void
  /** Swallows what the server says from now on. A connection that has lost bytes stays mute for ever. */
  cutReplies(): void
  /** Each piece arrives that much later, in each direction, so an answer takes twice that. 0 ends it. */
  delay(ms: number): void
  /** Breaks all connections as a crashed host does: both ends see a reset. */
  reset(): void
  /** Resets whoever connects. */
  refuse(): void
  /** New connections are healthy again, and nothing is held, delayed or waited for. */
  heal(): void
  /**
   * Once: the next statement that matches, of any connection, is lost or its answer is. Resolves when it has been: with
   * 'reply' the server has done its work by then.
   */
  dropOnce(statement?: RegExp, options?: DropOptions): Promise<void>
  close(): Promise<void>
}

export interface DropOptions {
  /** 'request': the server never sees it; 'reply' (default): the client never hears of it. */
  readonly lose?: 'request' | 'reply'
  /** What the client sees after that: nothing at all (default), or a reset. */
  readonly after?: 'silence' | 'reset'
}

/** What commits a transaction, also one that is prepared. */
const commit = /^\s*(commit|end)\b/i

interface Trap extends Required<DropOptions> {
  readonly statement: RegExp
  sprung(): void
}

interface Line {
  readonly client: Socket
  readonly server: Socket
  readonly read: Reader
  /** The server's bytes are lost, and with `deaf` the client's. */
  mute: boolean
  deaf: boolean
  trap: Trap | undefined
}

interface Passing {
  data(bytes: Buffer): void
  end(): void
  /** The connection broke. */
  lost(): void
}

/** For `targetPort` on 127.0.0.1. `reads` makes for each connection what finds statements in a client's bytes. */
export const faultProxy = async (targetPort: number, reads: () => Reader = postgresStatements): Promise<FaultProxy> => {
  const lines = new Set<Line>()
  let traps: Trap[] = []
  let delayMs = 0
  let muted = false
  let refusing = false
  let frozen: PromiseWithResolvers<void> | undefined

  const thawed = async (): Promise<void> => {
    if (frozen === undefined) return
    await frozen.promise
    await thawed()
  }

  const spring = (line: Line, trap: Trap): void => {
    line.trap = undefined
    trap.sprung()
    if (trap.after === 'silence') return
    line.client.resetAndDestroy()
    // An orderly end: a reset would let the server forget what it has received and not yet read.
    if (trap.lose === 'reply') line.server.end()
    else line.server.resetAndDestroy()
  }

  const request = (line: Line, bytes: Buffer): void => {
    const statements = line.read(bytes)
    if (line.deaf) return
    const trap = traps.find(({ statement }) => statements.some((text) => statement.test(text)))
    if (trap !== undefined) {
      traps = traps.filter((other) => other !== trap)
      line.mute = true
      line.deaf = trap.lose === 'request'
      if (line.deaf) return spring(line, trap)
      line.trap = trap
    }
    line.server.write(bytes)
  }
  const reply = (line: Line, bytes: Buffer): void => {
    if (!line.mute) line.client.write(bytes)
    else if (line.trap !== undefined) spring(line, line.trap)
  }

  /** Everything that comes from one end, its end included, in order and in its time. */
  const pump = (from: Socket, pass: Passing): void => {
    let last = Promise.resolve()
    const queue = (step: () => void): void => {
      const dueAt = performance.now() + delayMs
      last = last.then(async () => {
        const waitMs = dueAt - performance.now()
        if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
        await thawed()
        step()
      })
    }
    from.on('data', (bytes: Buffer) => queue(() => pass.data(bytes)))
    from.on('end', () => queue(() => pass.end()))
    from.on('error', () => queue(() => pass.lost()))
  }

  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    if (refusing) {
      client.resetAndDestroy()
      return
    }
    const server = connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    const line: Line = { client, server, read: reads(), mute: muted, deaf: false, trap: undefined }
    lines.add(line)
    client.once('close', () => lines.delete(line))
    const unlessMute = (act: () => void) => () => {
      if (!line.mute) act()
    }
    pump(client, {
      data: (bytes) => request(line, bytes),
      end: () => server.end(),
      lost: () => server.resetAndDestroy(),
    })
    pump(server, {
      data: (bytes) => reply(line, bytes),
      end: unlessMute(() => client.end()),
      lost: unlessMute(() => client.resetAndDestroy()),
    })
  })
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  const { port } = listener.address() as AddressInfo

  const thaw = (): void => {
    frozen?.resolve()
    frozen = undefined
  }
  const reset = (): void => {
    for (const { client, server } of lines) {
      client.resetAndDestroy()
      server.resetAndDestroy()
    }
  }
  const heal = (): void => {
    thaw()
    delayMs = 0
    muted = false
    refusing = false
    traps = []
  }
  const close = async (): Promise<void> => {
    heal()
    reset()
    if (listener.listening) await new Promise((resolve) => listener.close(resolve))
  }

  return {
    port,
    get connections() {
      return lines.size
    },
    url: (direct) => {
      const url = new URL(direct)
      url.hostname = '127.0.0.1'
      url.port = String(port)
      return url.href
    },
    freeze: () => {
      frozen ??= Promise.withResolvers<void>()
    },
    thaw,
    cutReplies: () => {
      muted = true
      for (const line of lines) line.mute = true
    },
    delay: (ms) => {
      delayMs = ms
    },
    reset,
    refuse: () => {
      refusing = true
    },
    heal,
    dropOnce: (statement = commit, { lose = 'reply', after = 'silence' } = {}) => {
      const { promise, resolve } = Promise.withResolvers<void>()
      traps.push({ statement, lose, after, sprung: resolve })
      return promise
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
