/** One run of a command: its global options, its app, who runs it, and whether it was confirmed. */

import { userInfo } from 'node:os'
import { resolve } from 'node:path'
import type { App } from '../app/app.ts'
import { durationMs } from '../core/duration.ts'
import { PabalError } from '../core/errors.ts'
import { operate, type Operated, type Operator } from '../operate/operated.ts'
import { findConfig, loadApp } from './config.ts'
import { type Format, Output } from './output/output.ts'
import type { Painted } from './output/text.ts'
import { argument } from './output/words.ts'
import type { TimeFormat } from './output/time.ts'

export interface GlobalOptions {
  readonly output: Format
  readonly config?: string
  readonly color: 'always' | 'never' | 'auto'
  readonly timeFormat: TimeFormat
  readonly timeout?: string
  readonly yes?: boolean
  readonly by?: string
  readonly reason?: string
}

/** What a command would do. */
export interface Plan {
  readonly json: unknown
  readonly text: readonly Painted[]
  /** The command that does it, with what it expects to find. */
  readonly command: string
}

const operatingUser = (): string => {
  // Who stands behind the root of a production host.
  const sudoer = process.env['SUDO_USER']
  if (sudoer !== undefined && sudoer !== '') return sudoer
  try {
    return userInfo().username
  } catch {
    return process.env['USER'] ?? 'unknown'
  }
}

export const isColored = ({ color }: Pick<GlobalOptions, 'color'>): boolean => {
  if (color !== 'auto') return color === 'always'
  if ((process.env['NO_COLOR'] ?? '') !== '') return false
  const forced = process.env['FORCE_COLOR']
  if (forced !== undefined) return forced !== '0' && forced !== 'false'
  return process.stdout.isTTY && process.env['TERM'] !== 'dumb'
}

/** How this program was called, so that what it says to type next can be typed. */
const programName = (): string => {
  const script = process.env['npm_lifecycle_event']
  if (script === 'npx') return 'npx pabal'
  return script === 'pabal' ? 'npm run -s pabal --' : 'pabal'
}

export class Invocation {
  readonly options: GlobalOptions
  readonly output: Output
  #app: App | undefined

  constructor(options: GlobalOptions) {
    this.options = options
    this.output = new Output({
      format: options.output,
      colored: isColored(options),
      timeFormat: options.timeFormat,
      program: programName(),
      always: options.config === undefined ? '' : ` --config ${argument(options.config)}`,
    })
  }

  get operator(): Operator {
    return { by: this.options.by ?? operatingUser(), reason: this.options.reason }
  }

  /** With the reason that some operations need. @throws PABAL_USAGE */
  get reasoned(): Operator & { readonly reason: string } {
    const { reason } = this.options
    if (reason === undefined || reason.trim() === '')
      throw new PabalError('PABAL_USAGE', 'a reason is needed: add --reason "why", it is what remains of the event')
    return { ...this.operator, reason }
  }

  /** Milliseconds; undefined: for ever. @throws PABAL_USAGE */
  get timeoutMs(): number | undefined {
    const { timeout } = this.options
    return timeout === undefined ? undefined : milliseconds(timeout, '--timeout')
  }

  /** The configured app: loaded, not opened. */
  async app(): Promise<App> {
    this.#app ??= await loadApp(
      this.options.config === undefined ? findConfig(process.cwd()) : resolve(this.options.config),
    )
    return this.#app
  }

  async operated(): Promise<Operated> {
    return operate(await this.app())
  }

  /**
   * Passes when the command was confirmed; otherwise shows the plan and ends with exit code 2. It never asks: a script would hang.
   * @throws PABAL_CONFIRMATION_NEEDED
   */
  confirm({ json, text, command }: Plan): void {
    if (this.options.yes === true) return
    this.output.answer({ json: { plan: json, confirmed: false }, text })
    this.output.note(this.output.next(command))
    throw new PabalError('PABAL_CONFIRMATION_NEEDED', 'nothing was changed')
  }

  async close(): Promise<void> {
    await this.#app?.stop({ graceMs: 0 })
  }
}

/** @throws PABAL_USAGE */
export const milliseconds = (text: string, option: string): number => {
  try {
    return durationMs(/^\d+$/.test(text) ? Number(text) : text, option)
  } catch {
    throw new PabalError('PABAL_USAGE', `${option} must be a time such as 10s or 500ms, not ${JSON.stringify(text)}`)
  }
}

/** @throws PABAL_USAGE */
export const integer = (text: string, option: string, min: number, max: number = Number.MAX_SAFE_INTEGER): number => {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= min && value <= max) return value
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `from ${min} to ${max}`
  throw new PabalError('PABAL_USAGE', `${option} must be a whole number ${range}, not ${JSON.stringify(text)}`)
}
