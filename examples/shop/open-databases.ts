/** Finds out where a shop lives, from `--store`, SHOP_STORE or what its folder remembers, and opens the way there. */

import { existsSync } from 'node:fs'
import { mkdir, realpath } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Databases, files } from './databases.ts'
import { ShopStoreError } from './store-error.ts'
import { makeFolder, recall, remember, type Remembered } from './store-memory.ts'

export interface StoreOptions {
  /** The folder of everything that the shop keeps. */
  readonly data: string
  /** 'sqlite', 'postgres' (a server of the shop's own) or a URL. Default: SHOP_STORE, else what the folder remembers, else 'sqlite'. */
  readonly store?: string | undefined
  readonly onWarning?: ((what: string, error: unknown) => void) | undefined
}

/** @throws ShopStoreError */
export async function openDatabases(options: StoreOptions): Promise<Databases> {
  const { data, store = givenStore() } = options
  const remembered = await recall(data)
  const wanted = store === undefined ? asRemembered(remembered, data) : parseStore(store)
  if (remembered !== undefined && (remembered.store !== wanted.store || remembered.at !== wanted.at))
    throw new ShopStoreError('SHOP_STORE_OTHER', `The shop in ${data} is on ${nameOf(remembered)}.`)
  if (wanted.store === 'sqlite') return files(data)
  return wanted.url === undefined ? openOwn(options, remembered) : openForeign(data, wanted.url, wanted.at!)
}

/** Of the environment, where no argument shows it to everybody. */
export const givenStore = (): string | undefined => process.env['SHOP_STORE'] || undefined

/** Whether a shop there has nothing to do with the default folder of one on SQLite. */
export const isPostgres = (store: string | undefined): boolean => store !== undefined && store !== 'sqlite'

interface Wanted extends Remembered {
  readonly url?: string
}

function parseStore(store: string): Wanted {
  if (store === 'sqlite' || store === 'postgres') return { store }
  // The text may hold a password, so it is not shown.
  const invalid = new ShopStoreError(
    'SHOP_STORE_INVALID',
    'The value of --store (or SHOP_STORE) is neither sqlite, postgres nor a URL.',
  )
  if (!URL.canParse(store)) throw invalid
  const { protocol, hostname, port, pathname, searchParams } = new URL(store)
  if (protocol !== 'postgres:' && protocol !== 'postgresql:') throw invalid
  const host = hostname || (searchParams.get('host') ?? 'localhost')
  return { store: 'postgres', url: store, at: `${host}:${port || '5432'}${pathname}` }
}

function asRemembered(remembered: Remembered | undefined, data: string): Wanted {
  if (remembered?.at !== undefined)
    throw new ShopStoreError('SHOP_STORE_NEEDED', `The shop in ${data} is on ${nameOf(remembered)}.`)
  return remembered ?? { store: 'sqlite' }
}

const nameOf = ({ store, at }: Remembered): string =>
  at !== undefined ? `postgres://${at}` : store === 'postgres' ? 'a Postgres of its own' : 'SQLite'

async function openForeign(data: string, url: string, at: string): Promise<Databases> {
  // Here and below: who runs on SQLite does not load what Postgres needs.
  const [{ tryConnection }, { schemas }] = await Promise.all([import('./try-connection.ts'), import('./schemas.ts')])
  const connection = { connectionString: url }
  await tryConnection(connection, `postgres://${at}`)
  await makeFolder(data)
  await remember(data, { store: 'postgres', at })
  return schemas({ connection, notKept: `postgres://${at}` })
}

async function openOwn({ data, onWarning }: StoreOptions, remembered: Remembered | undefined): Promise<Databases> {
  const [{ findPrograms }, { joinEmbeddedPostgres }, { schemas }] = await Promise.all([
    import('./postgres-cluster.ts'),
    import('./embedded-postgres.ts'),
    import('./schemas.ts'),
  ])
  const programs = findPrograms()
  const folder =
    remembered?.server === undefined ? await newServerFolder(data, onWarning) : knownServerFolder(data, remembered)
  const server = await joinEmbeddedPostgres(folder, programs)
  const databases = schemas(server)
  return {
    ...databases,
    async [Symbol.asyncDispose]() {
      await databases[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

function knownServerFolder(data: string, { server = '' }: Remembered): string {
  const folder = resolve(data, server)
  if (existsSync(folder)) return folder
  throw new ShopStoreError('SHOP_STORE_LOST', `The server's folder ${folder} of the shop in ${data} is gone.`)
}

/** Below the data, where the server's user gets there; else elsewhere, and the data remembers where. */
async function newServerFolder(data: string, onWarning: StoreOptions['onWarning']): Promise<string> {
  const { handOver, openFolder, reaches, serverAccount } = await import('./server-account.ts')
  const account = serverAccount()
  await makeFolder(data)
  const below = join(await realpath(data), 'postgres')
  if (await reaches(account, below)) {
    await mkdir(below, { recursive: true })
    await handOver(account, below)
    return knownServerFolder(data, await remember(data, { store: 'postgres', server: 'postgres' }))
  }
  const server = await openFolder(account)
  onWarning?.('--store postgres', `the user of the server does not get to ${data}; the server's files are in ${server}`)
  return knownServerFolder(data, await remember(data, { store: 'postgres', server }))
}
