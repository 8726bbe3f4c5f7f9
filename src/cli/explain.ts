/** `pabal explain`: what a code means and what to do, without an app. */

import { Argument, Command } from 'commander'
import { catalogue, type ErrorCode, PabalError } from '../core/errors.ts'
import type { Invocation } from './invocation.ts'
import { table } from './output/table.ts'
import { line, plain } from './output/text.ts'
import type { Act } from './program.ts'

const exits = {
  1: 'failed',
  2: 'usage or confirmation needed',
  3: 'unreachable',
  4: 'a check found a problem',
} as const

export const explainCommand = (act: Act): Command =>
  new Command('explain')
    .description('what an error code means, and what to do; without a code: all of them')
    .addArgument(new Argument('[code]', 'such as PABAL_STORE_BUSY; upper or lower case, with or without PABAL_'))
    .action(act(explain))

const explain = async ({ output }: Invocation, code: string | undefined): Promise<void> => {
  const { paint } = output
  if (code === undefined) {
    const rows = Object.entries(catalogue).map(([each, { title, remedy, retryable, status, exit }]) => ({
      code: each,
      title,
      remedy,
      retryable,
      status,
      exit,
    }))
    output.answer({
      json: { codes: rows },
      rows,
      text: table(
        [{ head: 'code' }, { head: 'what happened' }],
        rows.map((row) => [row.code, row.title]),
        paint.dim,
      ),
    })
    return
  }
  const known = codeOf(code)
  const { title, remedy, retryable, status, exit } = catalogue[known]
  output.answer({
    json: { code: known, title, remedy, retryable, status, exit },
    text: [
      paint.bold(known),
      line`  ${title}`,
      plain(''),
      line`  ${paint.dim('remedy')}     ${remedy}`,
      line`  ${paint.dim('retry')}      ${retryable ? 'helps: the same may succeed later without a change' : 'does not help without a change'}`,
      line`  ${paint.dim('exit code')}  ${exit} (${exits[exit]})`,
      line`  ${paint.dim('HTTP')}       ${status}`,
    ],
  })
}

/** @throws PABAL_USAGE with those that look like it */
const codeOf = (given: string): ErrorCode => {
  const upper = given.toUpperCase().replaceAll('-', '_')
  const wanted = upper.startsWith('PABAL_') ? upper : `PABAL_${upper}`
  if (wanted in catalogue) return wanted as ErrorCode
  const words = wanted.split('_').slice(1)
  const near = Object.keys(catalogue).filter((code) => words.some((word) => word.length > 2 && code.includes(word)))
  throw new PabalError(
    'PABAL_USAGE',
    `there is no code ${wanted}${near.length === 0 ? '' : `; did you mean ${near.join(', ')}?`}`,
  )
}
