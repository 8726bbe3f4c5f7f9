/** Payloads in a folder that producers and consumers share: one machine, or a file system between them that keeps what it has said. */

import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { PabalError } from '../../core/errors.ts'
import type { PayloadStore } from './claim-check.ts'

/** Each in a file of its own, whole or not there, on disk when `put` resolves. */
export const filePayloads = (folder: string): PayloadStore => {
  // A name from outside leads nowhere else.
  const pathOf = (name: string): string => {
    const hash = createHash('sha256').update(name).digest('hex')
    return join(folder, hash.slice(0, 2), hash)
  }
  return {
    put: async (name, data) => {
      const path = pathOf(name)
      const part = `${path}.${randomUUID()}`
      await mkdir(dirname(path), { recursive: true })
      try {
        await written(part, (file) => file.writeFile(data))
        await rename(part, path)
        await synced(dirname(path))
      } finally {
        await rm(part, { force: true })
      }
    },
    get: async (name, bytesMost) => {
      const path = pathOf(name)
      try {
        const { size } = await stat(path)
        if (size > bytesMost)
          throw new PabalError('PABAL_PAYLOAD_TOO_LARGE', `${path} has ${size} bytes, ${bytesMost} are read`)
        return await readFile(path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
    },
  }
}

type File = Awaited<ReturnType<typeof open>>

const written = async (path: string, write: (file: File) => Promise<void>): Promise<void> => {
  const file = await open(path, 'wx')
  try {
    await write(file)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** The name too, where the system lets a folder be opened. */
const synced = async (folder: string): Promise<void> => {
  const handle = await open(folder, 'r').catch(() => undefined)
  try {
    await handle?.sync()
  } finally {
    await handle?.close()
  }
}
