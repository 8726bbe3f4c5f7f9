/**
 * An emulated SNS and SQS of one's own, by fauxqs, in a process that can be killed; what it holds is in a file.
 *
 * It is kinder than AWS: a standard queue keeps order and never duplicates, a receive takes one message of each group, ids for
 * deduplication are forgotten with the process, and permissions are not looked at.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Broker, startBroker } from './broker.ts'

/** The reason why it cannot run here, to skip with; undefined where it can. */
export const missingSnsSqs = (): string | undefined =>
  existsSync(join(import.meta.dirname, '../../node_modules/fauxqs')) ? undefined : 'fauxqs is not installed: npm ci'

/** `url` is the endpoint of both; any credentials will do. */
export const startSnsSqs = (): Promise<Broker> =>
  startBroker({
    name: 'SNS and SQS',
    url: (port) => `http://127.0.0.1:${port}`,
    command: ({ dataFolder, ports: [port] }) => ({
      program: process.execPath,
      args: [join(import.meta.dirname, 'sns-sqs-process.ts'), String(port), dataFolder],
      asOurselves: true,
    }),
    ready: async ({ ports: [port] }) =>
      fetch(`http://127.0.0.1:${port}/health`).then(
        ({ ok }) => ok,
        () => false,
      ),
  })
