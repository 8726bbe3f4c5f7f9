/** What tests do to a RabbitMQ beside the adapter: look into queues, publish by hand, give it users and limits. */

import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ConfirmChannel, connect } from 'amqplib'
import type { Broker } from '../../tools/servers/broker.ts'
import { serverFolder } from '../../tools/servers/server-process.ts'

/** Over a connection of its own. */
export const onRabbit = async <T>({ url }: Broker, act: (channel: ConfirmChannel) => Promise<T>): Promise<T> => {
  const connection = await connect(url)
  // What is wrong is told by the call that fails.
  connection.on('error', () => undefined)
  try {
    const channel = await connection.createConfirmChannel()
    channel.on('error', () => undefined)
    return await act(channel)
  } finally {
    await connection.close()
  }
}

/**
 * Settings by which the node has, beside `guest`, a user `nobody` who may do nothing, and a user `worker` who may declare nothing,
 * each with its name as its password; in a file until disposed of.
 */
export const withUsers = async (): Promise<
  { readonly settings: Readonly<Record<string, string>> } & AsyncDisposable
> => {
  const folder = await serverFolder('rabbitmq-users')
  const path = join(folder, 'definitions.json')
  const rights = (user: string, pattern: string, configure = pattern) => ({
    user,
    vhost: '/',
    configure,
    write: pattern,
    read: pattern,
  })
  const definitions = {
    users: [
      { name: 'guest', password: 'guest', tags: 'administrator' },
      { name: 'nobody', password: 'nobody', tags: '' },
      { name: 'worker', password: 'worker', tags: '' },
    ],
    vhosts: [{ name: '/' }],
    permissions: [rights('guest', '.*'), rights('nobody', '^$'), rights('worker', '.*', '^$')],
  }
  await writeFile(path, JSON.stringify(definitions), { mode: 0o644 })
  return {
    settings: { load_definitions: path },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}
