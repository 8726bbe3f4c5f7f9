/** A real NATS of one's own, with JetStream. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Broker, firstReply, startBroker } from './broker.ts'
import { findProgram } from './server-process.ts'

export interface NatsOptions {
  /** Lines of its configuration, such as `max_payload: 8MB`. */
  readonly settings?: readonly string[]
}

/** The reason why it cannot run here, to skip with; undefined where it can. */
export const missingNats = (): string | undefined =>
  findProgram('nats-server') === undefined ? 'nats-server is not installed: npm run servers:install' : undefined

export const startNats = async ({ settings = [] }: NatsOptions = {}): Promise<Broker> => {
  const program = findProgram('nats-server')
  if (program === undefined) throw new Error(missingNats())
  return startBroker({
    name: 'NATS',
    url: (port) => `nats://127.0.0.1:${port}`,
    prepare: ({ folder, dataFolder, ports: [port] }) => {
      const lines = [
        'host: 127.0.0.1',
        `port: ${port}`,
        `jetstream { store_dir: ${JSON.stringify(dataFolder)} }`,
        ...settings,
      ]
      return writeFile(join(folder, 'nats.conf'), `${lines.join('\n')}\n`)
    },
    command: ({ folder }) => ({ program, args: ['--config', join(folder, 'nats.conf')] }),
    // It says who it is as soon as it accepts connections, which is after its streams are recovered.
    ready: async ({ ports: [port] }) => (await firstReply(port)).toString().startsWith('INFO '),
  })
}
