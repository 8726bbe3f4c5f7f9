/** A PgBouncer of the test's own in front of a Postgres server, handing out server connections per transaction. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from './eventually.ts'
import { accepts, findProgram, freePort, handOver, keeper, serverFolder } from '../../tools/servers/server-process.ts'

/** Disposing stops it and ends all its connections. */
export interface PgBouncer extends AsyncDisposable {
  readonly port: number
  readonly pid: number
  /** The URL of a database on the server behind it, by way of PgBouncer; `pgbouncer` is its own, for `SHOW POOLS`. */
  url(direct: string): string
  /** What it wrote. */
  log(): Promise<string>
}

/** The reason why it cannot run here, to skip with; undefined where it can. */
export const missingPgBouncer = (): string | undefined =>
  findProgram('pgbouncer') === undefined ? 'pgbouncer is not installed: npm run servers:install' : undefined

/** In front of the server of `url`. `settings` are those of its configuration's section `[pgbouncer]`. */
export const startPgBouncer = async (
  url: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<PgBouncer> => {
  const program = findProgram('pgbouncer')
  if (program === undefined) throw new Error(missingPgBouncer())
  const server = new URL(url)
  const folder = await serverFolder('pgbouncer')
  const port = await freePort()
  const users = join(folder, 'users.txt')
  const configuration = join(folder, 'pgbouncer.ini')
  const options = {
    listen_addr: '127.0.0.1',
    listen_port: String(port),
    unix_socket_dir: '',
    auth_type: 'trust',
    auth_file: users,
    admin_users: 'postgres',
    pool_mode: 'transaction',
    max_client_conn: '500',
    default_pool_size: '20',
    ...settings,
  }
  const lines = Object.entries(options).map(([name, value]) => `${name} = ${value}`)
  const database = `* = host=${server.hostname} port=${server.port}`
  await writeFile(configuration, ['[databases]', database, '[pgbouncer]', ...lines, ''].join('\n'))
  await writeFile(users, '"postgres" ""\n')
  await handOver(folder)

  const keep = keeper({ logFile: join(folder, 'log'), signal: 'TERM', folder })
  const running = await keep.start(program, [configuration]).catch(async (error: unknown) => {
    await keep.close()
    throw error
  })
  const close = async (): Promise<void> => {
    if (running.running()) await running.end('SIGTERM')
    await keep.close()
  }
  try {
    await eventually('PgBouncer accepts connections', async () => {
      if (!running.running()) throw new Error(`PgBouncer has ended: ${await keep.log()}`)
      return accepts(port)
    })
  } catch (error) {
    await close()
    throw error
  }
  return {
    port,
    pid: running.pid,
    url: (direct) => {
      const through = new URL(direct)
      through.hostname = '127.0.0.1'
      through.port = String(port)
      return through.href
    },
    log: () => keep.log(),
    [Symbol.asyncDispose]: close,
  }
}
