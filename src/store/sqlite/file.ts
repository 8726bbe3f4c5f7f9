/** Is this path something SQLite may safely live at? Checked before SQLite touches it. */

import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readSync,
  statfsSync,
  statSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import { PabalError } from '../../core/errors.ts'

// Magic numbers of statfs(2): locks and shared memory do not work over these.
const networkFileSystems = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'SMB'],
  [0xfe534d42, 'SMB2'],
  [0x01021997, '9P'],
  [0x517b, 'SMB'],
])

const header = 'SQLite format 3\0'

/** @throws PABAL_STORE_FOREIGN when there is a file that is not a SQLite database, PABAL_STORE_UNREACHABLE */
export const checkIsDatabase = (path: string): void => {
  if (!existsSync(path)) return
  const stat = statSync(path)
  if (stat.isDirectory()) throw new PabalError('PABAL_STORE_FOREIGN', `${path} is a folder`)
  if (!stat.isFile()) throw new PabalError('PABAL_STORE_FOREIGN', `${path} is not a regular file`)
  if (stat.size === 0) return
  const file = openToRead(path)
  try {
    const bytes = Buffer.alloc(16)
    readSync(file, bytes, 0, 16, 0)
    if (bytes.toString('latin1') !== header)
      throw new PabalError('PABAL_STORE_FOREIGN', `${path} is not a SQLite database`)
  } finally {
    closeSync(file)
  }
}

const openToRead = (path: string): number => {
  try {
    return openSync(path, 'r')
  } catch (error) {
    throw new PabalError('PABAL_STORE_UNREACHABLE', `${path} cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** @throws PABAL_STORE_UNREACHABLE */
export const checkExists = (path: string): void => {
  if (!existsSync(path))
    throw new PabalError('PABAL_STORE_UNREACHABLE', `${path} does not exist; the app creates it at its first start`)
}

/** Level by level: `recursive` never returns where mkdir says ENOENT under a folder that is there (node:fs under /proc). */
const makeFolder = (folder: string): void => {
  if (existsSync(folder)) return
  makeFolder(dirname(folder))
  try {
    mkdirSync(folder)
  } catch (error) {
    // Another process may have been quicker.
    if (!existsSync(folder)) throw error
  }
}

/** Creates the folder and refuses network file systems. @throws PABAL_STORE_UNREACHABLE, PABAL_STORE_READONLY */
export const prepareFolder = (path: string): void => {
  const folder = dirname(resolve(path))
  try {
    makeFolder(folder)
  } catch (error) {
    // On a read-only disk mkdir says ENOENT; the folder above tells more.
    let above = folder
    while (!existsSync(above)) above = dirname(above)
    checkAccess(above)
    throw new PabalError(
      'PABAL_STORE_UNREACHABLE',
      `the folder ${folder} cannot be created: ${(error as Error).message}`,
      { cause: error },
    )
  }
  const kind = networkFileSystems.get(statfsSync(folder).type)
  if (kind !== undefined)
    throw new PabalError(
      'PABAL_STORE_UNREACHABLE',
      `${folder} is on ${kind}; SQLite loses data over network file systems`,
    )
}

/** Also who only reads needs it, for the files of the write-ahead log beside the database. @throws PABAL_STORE_READONLY */
export const checkWritable = (path: string): void => {
  checkAccess(dirname(resolve(path)))
  if (existsSync(path)) checkAccess(path)
}

const checkAccess = (path: string): void => {
  try {
    accessSync(path, constants.W_OK)
  } catch (error) {
    throw new PabalError('PABAL_STORE_READONLY', `${path} cannot be written: ${(error as Error).message}`, {
      cause: error,
    })
  }
}
