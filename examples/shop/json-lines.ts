/**
 * An append-only file of JSON lines that survives kill -9: what `append` resolved for is on disk, and a line that a
 * crash tore off neither counts nor swallows the line after it.
 */

import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'

export interface JsonLines extends AsyncDisposable {
  /**
   * Resolves when the records are on disk (fdatasync); calls that wait at the same time share one. If it rejects, the
   * records may or may not be there: repeat them with the same idempotency key.
   */
  append(records: readonly object[]): Promise<void>
}

export type JsonLine =
  | { readonly torn: false; readonly value: unknown }
  | { readonly torn: true; readonly text: string }

interface Waiting {
  readonly text: string
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

const newline = 0x0a

/** Creates the file and its folder if need be. Several processes may append to one file. */
export async function openJsonLines(path: string): Promise<JsonLines> {
  await mkdir(dirname(path), { recursive: true })
  const file = await open(path, 'a+')
  await syncFolder(dirname(path))
  let waiting: Waiting[] = []
  let writing: Promise<void> | undefined

  const writeAll = async () => {
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      try {
        const text = batch.map((one) => one.text).join('')
        // Another process may die in the middle of a line at any time, and with it goes the first one of ours.
        while (!(await appendAtLineStart(file, text))) continue
        for (const { resolve } of batch) resolve()
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    writing = undefined
  }

  return {
    append(records) {
      if (records.length === 0) return Promise.resolve()
      const text = records.map((record) => `${JSON.stringify(record)}\n`).join('')
      return new Promise((resolve, reject) => {
        waiting.push({ text, resolve, reject })
        writing ??= writeAll()
      })
    },
    async [Symbol.asyncDispose]() {
      await writing
      await file.close()
    },
  }
}

export interface JsonLinesReader extends AsyncDisposable {
  /** What is whole and was not read before, whoever appended it. */
  readNew(): Promise<readonly JsonLine[]>
}

/** Follows a file that several processes append to. Holds what is new in memory at once. */
export async function openJsonLinesReader(path: string): Promise<JsonLinesReader> {
  const file = await open(path, 'r')
  let offset = 0
  let reading: Promise<readonly JsonLine[]> = Promise.resolve([])

  const read = async (): Promise<readonly JsonLine[]> => {
    const { size } = await file.stat()
    if (size === offset) return []
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - offset), 0, size - offset, offset)
    const end = buffer.subarray(0, bytesRead).lastIndexOf(newline) + 1
    offset += end
    return end === 0
      ? []
      : buffer
          .toString('utf8', 0, end - 1)
          .split('\n')
          .map(parseLine)
  }

  return {
    // One after the other: two that read at the same time would both get the same.
    readNew: () => (reading = reading.then(read, read)),
    [Symbol.asyncDispose]: () => file.close(),
  }
}

/** All lines in the order of the file, none if there is no file. Only a whole JSON text counts as a value. */
export async function* readJsonLines(path: string): AsyncGenerator<JsonLine> {
  let rest = ''
  try {
    for await (const chunk of createReadStream(path, { encoding: 'utf8' }) as AsyncIterable<string>) {
      // Not readline: it also breaks at U+2028, which JSON text may hold.
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) yield parseLine(line)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (rest !== '') yield parseLine(rest)
}

function parseLine(text: string): JsonLine {
  try {
    return { torn: false, value: JSON.parse(text) }
  } catch {
    return { torn: true, text }
  }
}

/** False: the text is there, but behind a torn line. */
async function appendAtLineStart(file: FileHandle, text: string): Promise<boolean> {
  const repair = (await endsInTornLine(file)) ? '\n' : ''
  const { size } = await file.stat()
  await file.write(repair + text)
  await file.datasync()
  const from = Math.max(0, size - 1)
  const { buffer, bytesRead } = await file.read(Buffer.alloc((await file.stat()).size - from), 0, null, from)
  const at = buffer.subarray(0, bytesRead).indexOf(text)
  if (at === -1) throw new Error('what was appended to the file is not in it')
  return from + at === 0 || buffer[at - 1] === newline
}

async function endsInTornLine(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat()
  if (size === 0) return false
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1)
  return buffer[0] !== newline
}

/** A new file is found after a power loss only if its folder is on disk too. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
