/** Where everything goes: data to stdout in the asked format, messages to stderr. */

import { hostname } from 'node:os'
import { createPalette, line, type Paintable, type Painted, type Palette, plain, visibleJson } from './text.ts'
import { type TimeFormat, timeOf } from './time.ts'

export const formats = ['text', 'json', 'jsonl', 'none'] as const
export type Format = (typeof formats)[number]

export interface OutputOptions {
  readonly format: Format
  readonly colored: boolean
  readonly timeFormat: TimeFormat
  /** What stands for `pabal` in a command that is shown, and what is always added to it. */
  readonly program: string
  readonly always: string
}

/** One answer in each of the formats. */
export interface Answer {
  /** One stable document. */
  readonly json: unknown
  /** A line each for jsonl; the document itself when there are no rows. */
  readonly rows?: readonly unknown[]
  readonly text: readonly Painted[]
}

/** Points in time are milliseconds in the code (names that end in `At`), and ISO 8601 in JSON. */
const iso = (key: string, value: unknown): unknown =>
  typeof value === 'number' && (key === 'at' || key.endsWith('At')) ? new Date(value).toISOString() : value

export const toJson = (value: unknown, indent?: number): string => visibleJson(JSON.stringify(value, iso, indent))

export class Output {
  readonly format: Format
  readonly paint: Palette
  readonly #options: OutputOptions

  constructor(options: OutputOptions) {
    this.format = options.format
    this.paint = createPalette(options.colored)
    this.#options = options
  }

  answer({ json, rows, text }: Answer): void {
    if (this.format === 'text') for (const each of text) this.#write(each.text)
    if (this.format === 'json') this.#write(toJson(json, 2))
    if (this.format === 'jsonl') for (const row of rows ?? [json]) this.#write(toJson(row))
  }

  /** JSON text that is a document already; its characters are kept. */
  document(json: string, text: readonly Painted[]): void {
    if (this.format === 'text') for (const each of text) this.#write(each.text)
    if (this.format === 'json' || this.format === 'jsonl') this.#write(visibleJson(json))
  }

  /** One line of a stream. */
  row(row: unknown, text: Painted): void {
    if (this.format === 'text') this.#write(text.text)
    else if (this.format !== 'none') this.#write(toJson(row))
  }

  /** A message for people; never data. */
  note(message: Paintable): void {
    process.stderr.write(`${plain(message).text}\n`)
  }

  time(atMs: number, nowMs: number): string {
    return timeOf(atMs, nowMs, this.#options.timeFormat)
  }

  /** A command as it can be copied from here. */
  command(command: string): Painted {
    const { program, always } = this.#options
    return this.paint.command(command.replace(/^pabal(?= |$)/, program) + always)
  }

  next(command: string): Painted {
    return line`${this.paint.dim('→')} ${this.command(command)}`
  }

  #write(text: string): void {
    process.stdout.write(`${text}\n`)
  }
}

/** A process of this host by its number, another one with its host. */
export const ownerOf = (owner: string): string => {
  const [host, pid] = owner.split(':')
  if (pid === undefined) return owner
  return host === hostname() ? `pid ${pid}` : `${host}:${pid}`
}
