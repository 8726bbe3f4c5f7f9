/**
 * Keeps a quote that is never closed from swallowing the lines after it.
 *
 * To a CSV parser everything up to the next quote is one field, hundreds of lines of other invoices. This stream sits
 * before the parser and takes the quotes out of such a line, so that it stands or falls alone. A quoted line break
 * (RFC 4180 §2.6) passes: there the first line is short of columns and the following ones complete it.
 */

import { Transform } from 'node:stream'
import { ShopInputError } from './input-error.ts'

const quote = 0x22
const comma = 0x2c
const newline = 0x0a
const carriageReturn = 0x0d

/** A quoted field may go over this many lines. */
const recordLinesMax = 10
/** A file without line breaks must not be gathered in memory. */
const recordBytesMax = 64 * 1024

/**
 * Bytes of CSV in, the same bytes out, except for the quotes of lines that leave one open. It ends before a line without end,
 * and says so: as an error of the stream it would undo what was read but not yet taken.
 */
export function createUnclosedQuotesFilter(onEndlessLine: (error: ShopInputError) => void): Transform {
  let kept: Buffer = Buffer.alloc(0)
  let columns = 0
  let isOver = false

  const filter = (chunk: Buffer, isLast: boolean): Buffer[] => {
    const buffer = kept.length === 0 ? chunk : Buffer.concat([kept, chunk])
    const end = isLast ? buffer.length : buffer.lastIndexOf(newline) + 1
    if (columns === 0 && end > 0) columns = scan(buffer, 0, lineEnd(buffer, 0)).commas + 1
    const { out, done } = closeQuotes(buffer, end, columns, isLast)
    kept = Buffer.from(buffer.subarray(done))
    if (kept.length > recordBytesMax) {
      isOver = true
      const message = `The file is not CSV: it has a line of more than ${recordBytesMax} bytes.`
      onEndlessLine(new ShopInputError('SHOP_FILE_NOT_CSV', message))
    }
    return out
  }

  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      pushAll(this, done, () => (isOver ? [] : filter(chunk, false)))
    },
    flush(done) {
      pushAll(this, done, () => (isOver ? [] : filter(Buffer.alloc(0), true)))
    },
  })
}

/** The lines up to `end` without the quotes that are not closed; `done` is less if more must be read to know. */
function closeQuotes(buffer: Buffer, end: number, columns: number, isLast: boolean): { out: Buffer[]; done: number } {
  const out: Buffer[] = []
  let passed = 0
  let next = 0
  for (;;) {
    const found = next < end ? buffer.indexOf(quote, next) : -1
    if (found === -1 || found >= end) return { out: [...out, buffer.subarray(passed, end)], done: end }
    const from = buffer.lastIndexOf(newline, found) + 1
    const to = closedAt(buffer, from, end, columns)
    if (to === 'unknown' && !isLast) return { out: [...out, buffer.subarray(passed, from)], done: from }
    if (typeof to === 'number') {
      next = to
      continue
    }
    next = lineEnd(buffer, from)
    out.push(buffer.subarray(passed, from), withoutQuotes(buffer.subarray(from, next)))
    passed = next
  }
}

function pushAll(stream: Transform, done: (error?: Error) => void, filter: () => Buffer[]): void {
  try {
    for (const part of filter()) if (part.length > 0) stream.push(part)
    done()
  } catch (error) {
    done(error as Error)
  }
}

/** Where the record that starts at `from` ends; 'never' if its quote is not closed, 'unknown' if more must be read. */
function closedAt(buffer: Buffer, from: number, end: number, columns: number): number | 'never' | 'unknown' {
  const firstEnd = lineEnd(buffer, from)
  const first = scan(buffer, from, firstEnd)
  if (!first.isOpen) return firstEnd
  // A line that has all its columns when the quotes are ignored lost a quote; it does not go on below.
  if (first.commas + 1 >= columns) return 'never'
  let to = firstEnd
  for (let lines = 1; lines < recordLinesMax; lines++) {
    if (to >= end) return 'unknown'
    to = lineEnd(buffer, to)
    const record = scan(buffer, from, to)
    if (!record.isStrict) return 'never'
    if (!record.isOpen) return record.separators + 1 === columns ? to : 'never'
  }
  return 'never'
}

/** Walks over quotes as csv-parse does with `relax_quotes`, so that both agree on where a field is left open. */
function scan(buffer: Buffer, from: number, to: number) {
  let isOpen = false
  let isStrict = true
  let isFieldStart = true
  let separators = 0
  let commas = 0
  for (let i = from; i < to; i++) {
    const byte = buffer[i]
    if (byte === comma) commas++
    if (isOpen) {
      if (byte !== quote) continue
      const after = i + 1 < to ? buffer[i + 1] : newline
      if (after === quote) i++
      else if (after === comma || after === newline || (after === carriageReturn && buffer[i + 2] === newline))
        isOpen = false
      else {
        isOpen = false
        isStrict = false
      }
      isFieldStart = false
    } else if (byte === quote && isFieldStart) isOpen = true
    else if (byte === quote) isStrict = false
    else if (byte === comma) {
      separators++
      isFieldStart = true
    } else isFieldStart = false
  }
  return { isOpen, isStrict, separators, commas }
}

function lineEnd(buffer: Buffer, from: number): number {
  const found = buffer.indexOf(newline, from)
  return found === -1 ? buffer.length : found + 1
}

const withoutQuotes = (line: Buffer) => Buffer.from(line.filter((byte) => byte !== quote))
