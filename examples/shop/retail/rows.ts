/** Streams a retail file, plain or gzipped, as rows; memory does not grow with the file. */

import { type FileHandle, open } from 'node:fs/promises'
import { addAbortSignal, pipeline, Writable } from 'node:stream'
import { pipeline as finish } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { CsvError, type InfoRecord, type Options, parse } from 'csv-parse'
import { ShopInputError } from './input-error.ts'
import { type BadRow, createRowReader, type RetailRow, type RowReader } from './row.ts'
import { createUnclosedQuotesFilter } from './unclosed-quotes.ts'

export interface ReadRowsOptions {
  /** Called about every 1,000 rows and at the end, with bytes of the file as stored (compressed, if it is). */
  readonly onProgress?: (progress: { readonly readBytes: number; readonly fileBytes: number }) => void
  /** Ends the stream with an AbortError. */
  readonly signal?: AbortSignal
}

const progressRows = 1_000
const chunkBytes = 64 * 1024

/**
 * Rows in the order of the file, unreadable lines among them as bad rows. Columns are found by the names in the
 * header, in any order; a byte order mark, CRLF, empty lines and a header repeated by `cat a.csv b.csv` are tolerated.
 *
 * A gzip is unpacked once before the first row (about 0.1 s for 20 MB of text): its checksum stands at its end, and until
 * then a damaged one yields rows that look right. So nothing is taken from a file that is not whole.
 *
 * @throws ShopInputError `SHOP_FILE_NOT_FOUND`, `SHOP_FILE_UNREADABLE`, `SHOP_FILE_NOT_CSV` or, for a gzip that ends early
 * or is damaged, `SHOP_FILE_TRUNCATED`: all before the first row, except a disk that fails and a line without end.
 */
export async function* readRetailRows(path: string, options: ReadRowsOptions = {}): AsyncGenerator<RetailRow | BadRow> {
  const file = await openFile(path)
  const { isGzip, fileBytes } = await inspect(file, path)
  const source = file.createReadStream({ start: 0, highWaterMark: chunkBytes })
  let endless: ShopInputError | undefined
  const quotes = createUnclosedQuotesFilter((error) => (endless = error))
  const rows = parse(createParserOptions(path))
  if (options.signal !== undefined) addAbortSignal(options.signal, source)
  // The iterator below throws the error; the callback only keeps it from being an unhandled one.
  pipeline(isGzip ? [source, createGunzip({ chunkSize: chunkBytes }), quotes, rows] : [source, quotes, rows], () => {})

  const report = () => options.onProgress?.({ readBytes: source.bytesRead, fileBytes })
  try {
    let count = 0
    for await (const row of rows as AsyncIterable<RetailRow | BadRow>) {
      yield row
      if (++count % progressRows === 0) report()
    }
    if (endless !== undefined) throw endless
    if (rows.info.records === 0) throw new ShopInputError('SHOP_FILE_NOT_CSV', `${path} is empty.`)
    report()
  } catch (error) {
    throw asInputError(error, path)
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (error) {
    throw asInputError(error, path)
  }
}

/** Gzip by its magic bytes (RFC 1952 §2.3.1): names lie. */
async function inspect(file: FileHandle, path: string) {
  try {
    const { size } = await file.stat()
    const { buffer } = await file.read(Buffer.alloc(2), 0, 2, 0)
    const isGzip = buffer[0] === 0x1f && buffer[1] === 0x8b
    if (isGzip) await unpackToNowhere(file)
    return { isGzip, fileBytes: size }
  } catch (error) {
    await file.close()
    throw asInputError(error, path)
  }
}

async function unpackToNowhere(file: FileHandle): Promise<void> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  await finish(
    file.createReadStream({ start: 0, autoClose: false, highWaterMark: chunkBytes }),
    createGunzip({ chunkSize: chunkBytes }),
    nowhere,
  )
}

function createParserOptions(path: string): Options {
  let read: RowReader | undefined
  let header = ''
  return {
    bom: true,
    // Given, not discovered: one file may mix both.
    record_delimiter: ['\r\n', '\n'],
    relax_quotes: true,
    relax_column_count: true,
    skip_empty_lines: true,
    on_record: (record: unknown, { lines }: InfoRecord) => {
      const fields = record as readonly string[]
      if (read !== undefined) return fields[0] === 'InvoiceNo' && fields.join() === header ? null : read(fields, lines)
      const reader = createRowReader(fields)
      if (typeof reader !== 'function')
        throw new ShopInputError(
          'SHOP_FILE_NOT_CSV',
          `${path} is not a retail file: its first line lacks ${reader.missing.join(', ')}.`,
        )
      read = reader
      header = fields.join()
      return null
    },
  } as Options
}

function asInputError(error: unknown, path: string): unknown {
  if (error instanceof ShopInputError) return error
  if (error instanceof CsvError)
    return new ShopInputError('SHOP_FILE_NOT_CSV', `${path} is not CSV: ${error.message}`, error)
  const { code, syscall } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return new ShopInputError('SHOP_FILE_NOT_FOUND', `There is no file ${path}.`, error)
  if (code === 'Z_BUF_ERROR')
    return new ShopInputError('SHOP_FILE_TRUNCATED', `${path} ends in the middle: the gzip is not complete.`, error)
  if (code?.startsWith('Z_'))
    return new ShopInputError('SHOP_FILE_TRUNCATED', `${path} is damaged: ${(error as Error).message}.`, error)
  if (syscall !== undefined)
    return new ShopInputError('SHOP_FILE_UNREADABLE', `${path} cannot be read: ${(error as Error).message}`, error)
  return error
}
