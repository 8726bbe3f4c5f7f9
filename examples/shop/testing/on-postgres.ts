/** Shops on Postgres: in a database of the test's own, or with a server of their own. */

import { chmod, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { testDatabase } from '../../../test/support/postgres.ts'
import { schemas } from '../schemas.ts'
import { type Ground, newFolder, openShop } from './test-shop.ts'

export async function inSchemas(): Promise<Ground> {
  const { url } = await testDatabase()
  const data = await newFolder()
  return {
    open: (options) => openShop({ ...options, data, databases: schemas({ connection: { connectionString: url } }) }),
  }
}

/** A folder that the server's user gets to. A server that a test leaves there ends with it. */
export async function newServerFolder(): Promise<string> {
  const data = await newFolder()
  await chmod(data, 0o755)
  onTestFinished(async () => {
    const pid = await serverPid(data)
    if (pid !== undefined && isAlive(pid)) process.kill(pid, 'SIGKILL')
  })
  return data
}

/** Of the server in a shop's folder: as it says itself, while it runs. */
export async function serverPid(data: string): Promise<number | undefined> {
  const text = await readFile(join(data, 'postgres/cluster/data/postmaster.pid'), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : Number(text.split('\n')[0])
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
