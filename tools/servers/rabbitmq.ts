/** A real RabbitMQ of one's own: a node with a name, a cookie and a port mapper that it shares with nobody. */

import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Broker, type Place, startBroker } from './broker.ts'
import { eventually } from '../../test/support/eventually.ts'
import { accepts, findProgram } from './server-process.ts'

export interface RabbitOptions {
  /** What would stand in `rabbitmq.conf`. */
  readonly settings?: Readonly<Record<string, string>>
  /** Such as `rabbitmq_management`, which takes a second more to start. */
  readonly plugins?: readonly string[]
}

/** Debian's own wrapper, the one on PATH, insists on one account and on its folders; this is what it wraps. */
const program = '/usr/lib/rabbitmq/bin/rabbitmq-server'

/** The reason why it cannot run here, to skip with; undefined where it can. */
export const missingRabbit = (): string | undefined =>
  existsSync(program) && findProgram('epmd') !== undefined
    ? undefined
    : 'rabbitmq-server is not installed: npm run servers:install'

export const startRabbit = async ({ settings = {}, plugins = [] }: RabbitOptions = {}): Promise<Broker> => {
  const mapper = findProgram('epmd')
  const missing = missingRabbit()
  if (mapper === undefined || missing !== undefined) throw new Error(missing)
  return startBroker({
    name: 'RabbitMQ',
    morePorts: 2,
    url: (port) => `amqp://guest:guest@127.0.0.1:${port}`,
    prepare: async ({ folder, ports: [port] }) => {
      const lines = { 'listeners.tcp.default': `127.0.0.1:${port}`, 'log.console.level': 'info', ...settings }
      const text = Object.entries(lines).map(([name, value]) => `${name} = ${value}\n`)
      await writeFile(join(folder, 'rabbit.conf'), text.join(''))
      await writeFile(join(folder, 'enabled_plugins'), `[${plugins.join(',')}].\n`)
      await mkdir(join(folder, 'home'), { recursive: true })
    },
    // Erlang's port mapper. The node would start one of its own that outlives it.
    companion: ({ ports }) => ({
      program: mapper,
      args: ['-address', '127.0.0.1', '-port', String(ports[1])],
      ready: () => accepts(ports[1]!),
    }),
    command: (place) => ({ program, args: ['-noinput'], env: environment(place) }),
    ready: async ({ ports: [port] }, log) => (await accepts(port)) && (await log()).includes('Server startup complete'),
  })
}

/**
 * Resolves when the node will still know a quorum queue after a crash. It writes the names of new ones twice a second: killed
 * before that, it starts with a queue that never finds a leader, and refuses what is published a minute later.
 */
export const quorumQueueIsKept = async ({ dataFolder }: Broker, queue: string): Promise<void> => {
  const names = join(dataFolder, node, 'quorum', node, 'names.dets')
  await eventually(`the node has written the name of ${queue}`, async () =>
    (await readFile(names).catch(() => Buffer.alloc(0))).includes(`%2F_${queue}`),
  )
}

const node = 'pabal@localhost'

const environment = ({ folder, dataFolder, ports }: Place): Record<string, string> => ({
  HOME: join(folder, 'home'), // of the cookie
  RABBITMQ_CONF_ENV_FILE: '/dev/null',
  RABBITMQ_CONFIG_FILE: join(folder, 'rabbit.conf'),
  RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
  RABBITMQ_NODENAME: node,
  RABBITMQ_MNESIA_BASE: dataFolder,
  RABBITMQ_LOG_BASE: join(folder, 'home'),
  RABBITMQ_LOGS: '-', // to where the others' go
  ERL_CRASH_DUMP: '/dev/null',
  RABBITMQ_DIST_PORT: String(ports[2]),
  ERL_EPMD_PORT: String(ports[1]),
  ERL_EPMD_ADDRESS: '127.0.0.1',
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
  // With it the script becomes the node, in place of waiting for it: the pid is the node's. The shell that it would bring
  // is turned off again by `-noinput`.
  RABBITMQ_ALLOW_INPUT: '1',
})
