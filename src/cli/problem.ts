/** What went wrong, for people on stderr and for scripts by exit code. */

import { CommanderError } from 'commander'
import { catalogue, isPabalError, PabalError } from '../core/errors.ts'
import { type Format, toJson } from './output/output.ts'
import { type Palette, visible } from './output/text.ts'

/** Where a stack helps whoever writes pabal; everybody else needs the code and the remedy. */
const wantsStack = (): boolean => (process.env['PABAL_DEBUG'] ?? '') !== ''

interface Problem {
  readonly code: string | null
  readonly message: string
  readonly remedy: string | null
  readonly retryable: boolean
  readonly exit: number
}

const problemOf = (error: unknown): Problem => {
  if (isPabalError(error)) {
    const { code, message, remedy, retryable } = error
    return { code, message: message.replace(`${code}: `, ''), remedy, retryable, exit: catalogue[code]?.exit ?? 1 }
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return { code: null, message, remedy: 'set PABAL_DEBUG=1 to see where it comes from', retryable: false, exit: 1 }
}

/** Commander's complaints are ours: one code, one exit code, its message. */
export const usageOf = (error: CommanderError): PabalError =>
  new PabalError('PABAL_USAGE', error.message.replace(/^error: /, '').replaceAll('\n', ' '))

/** Tells it, and gives the exit code. */
export const report = (
  error: unknown,
  { format, paint }: { readonly format: Format; readonly paint: Palette },
): number => {
  const problem = problemOf(error)
  if (format === 'json' || format === 'jsonl') process.stderr.write(`${toJson({ error: problem })}\n`)
  else {
    process.stderr.write(`${paint.bad(problem.code ?? 'error').text}: ${visible(problem.message)}\n`)
    if (problem.remedy !== null) process.stderr.write(`  ${paint.dim('remedy:').text} ${visible(problem.remedy)}\n`)
  }
  if (wantsStack() && error instanceof Error)
    process.stderr.write(`${visible(error.stack ?? '').replaceAll('\\n', '\n')}\n`)
  return problem.exit
}
