/** Whom the embedded server runs as, since Postgres refuses root, and where that user gets to. */

import { execFileSync } from 'node:child_process'
import { cp, lchown, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ShopStoreError } from './store-error.ts'

export interface Account {
  readonly uid: number
  readonly gid: number
}

const unprivileged = ['postgres', 'nobody']

/** Undefined: the user of this process, who is not root. @throws ShopStoreError SHOP_POSTGRES_FAILED */
export function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  for (const name of unprivileged)
    try {
      const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, name], { stdio: 'pipe' })))
      return { uid: uid!, gid: gid! }
    } catch {
      // There is no such user here.
    }
  const names = unprivileged.map((name) => `'${name}'`).join(' nor ')
  throw new ShopStoreError('SHOP_POSTGRES_FAILED', `Postgres refuses to run as root, and there is neither ${names}.`)
}

/** Whether the account may pass every folder on the way to `path`. */
export async function reaches(account: Account | undefined, path: string): Promise<boolean> {
  if (account === undefined) return true
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const { mode, uid, gid } = await stat(folder)
    const pass = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001
    if ((mode & pass) === 0) return false
    if (folder === dirname(folder)) return true
  }
}

/** Gives a folder and everything in it to the account. */
export async function handOver(account: Account | undefined, folder: string): Promise<void> {
  if (account === undefined) return
  for (const name of ['', ...(await readdir(folder, { recursive: true }))])
    await lchown(join(folder, name), account.uid, account.gid)
}

/** A new folder of the account's that lasts, where others cannot foresee its name. @throws ShopStoreError SHOP_POSTGRES_FAILED */
export async function openFolder(account: Account | undefined): Promise<string> {
  for (const parent of ['/var/tmp', tmpdir()]) {
    if (!(await reaches(account, join(parent, 'x')).catch(() => false))) continue
    const folder = await mkdtemp(join(parent, 'pabal-shop-'))
    await handOver(account, folder)
    return folder
  }
  throw new ShopStoreError('SHOP_POSTGRES_FAILED', 'There is no folder that the server could keep its data in.')
}

/** Makes a folder of the account's in one step: whole or not at all, also when two processes make it, or one dies. */
export async function makeOnce(
  account: Account | undefined,
  path: string,
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  if (await isThere(path)) return
  const partial = await mkdtemp(`${path}.partial-`)
  try {
    await handOver(account, partial)
    await fill(partial)
    await rename(partial, path)
  } catch (error) {
    await rm(partial, { recursive: true, force: true })
    if (!(await isThere(path))) throw error
  }
}

/** `from`, or a copy below `to` where the account does not get to it. */
export async function within(account: Account | undefined, from: string, to: string): Promise<string> {
  if (await reaches(account, join(from, 'x'))) return from
  await makeOnce(account, to, (folder) => cp(from, folder, { recursive: true, verbatimSymlinks: true }))
  return to
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
