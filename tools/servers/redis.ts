/** A real Redis of one's own, with streams that survive its crash. */

import { type Broker, firstReply, startBroker } from './broker.ts'
import { findProgram } from './server-process.ts'

export interface RedisOptions {
  /** What would stand in `redis.conf`; overrides our own. */
  readonly settings?: Readonly<Record<string, string>>
}

/** Durability is under test: what was answered is in the file. */
const defaults = { appendonly: 'yes', appendfsync: 'always', save: '' }

/** The reason why it cannot run here, to skip with; undefined where it can. */
export const missingRedis = (): string | undefined =>
  findProgram('redis-server') === undefined ? 'redis-server is not installed: npm run servers:install' : undefined

export const startRedis = async ({ settings = {} }: RedisOptions = {}): Promise<Broker> => {
  const program = findProgram('redis-server')
  if (program === undefined) throw new Error(missingRedis())
  return startBroker({
    name: 'Redis',
    url: (port) => `redis://127.0.0.1:${port}`,
    command: ({ dataFolder, ports: [port] }) => {
      const flags = { bind: '127.0.0.1', port: String(port), dir: dataFolder, ...defaults, ...settings }
      return { program, args: Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]) }
    },
    // While it reads its file it answers, but with an error.
    ready: async ({ ports: [port] }) => (await firstReply(port, 'PING\r\n')).toString().startsWith('+PONG'),
  })
}
