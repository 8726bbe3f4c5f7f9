/** Which dead letters a command is about, and how its plan is shown. */

import { PabalError } from '../core/errors.ts'
import type { DeadFilter, FoundDeadLetter } from '../operate/dead-letters.ts'
import type { DeadPlan } from '../operate/retry.ts'
import { deadTable } from './dead-text.ts'
import { type Invocation, integer } from './invocation.ts'
import type { Output } from './output/output.ts'
import { indented } from './output/table.ts'
import { line, type Painted, plain } from './output/text.ts'
import { argument, count, number } from './output/words.ts'

export interface DeadOptions {
  readonly context?: string
  readonly consumer?: string
  readonly key?: string
  readonly type?: string
  readonly group?: string
}

export interface BulkOptions extends DeadOptions {
  readonly all?: boolean
  readonly expect?: string
}
export const filterOf = ({ context, consumer, key, type, group }: DeadOptions): DeadFilter => ({
  context,
  consumer,
  key,
  type,
  group,
})

export const addressOf = ({ context, row }: FoundDeadLetter): string => `${context.context}/${row.consumer}`

/** Nothing given is no filter: everything has to be asked for. */
export const checkFiltered = ({ context, consumer, key, type, group, all }: BulkOptions): void => {
  if ([context, consumer, key, type, group].some((each) => each !== undefined) || all === true) return
  throw new PabalError(
    'PABAL_USAGE',
    'which ones? Give the id of an event, a filter such as --group or --consumer, or --all',
  )
}

/** The filter as it was typed. */
export const typed = (options: BulkOptions): string =>
  (['context', 'consumer', 'key', 'type', 'group'] as const)
    .flatMap((name) => (options[name] === undefined ? [] : [`--${name} ${argument(options[name])}`]))
    .concat(options.all === true ? ['--all'] : [])
    .join(' ')

export const planLines = (output: Output, verb: string, plan: DeadPlan, nowMs: number): Painted[] => [
  line`would ${verb} ${output.paint.bold(count(plan.keys, 'dead letter'))}; ${count(plan.waiting, 'event')} behind ${plan.keys === 1 ? 'it' : 'them'} will go on`,
  ...plan.groups.map(
    (group) =>
      line`  ${number(group.keys)} × ${group.context}/${group.consumer}  ${output.paint.bad(group.fingerprint)}`,
  ),
  plain(''),
  ...indented(deadTable(output, plan.sample, nowMs)),
  ...(plan.sample.length < plan.keys
    ? [line`  ${output.paint.dim(`… and ${number(plan.keys - plan.sample.length)} more`)}`]
    : []),
]

export const expectedOf = ({ expect }: BulkOptions): number | undefined =>
  expect === undefined ? undefined : integer(expect, '--expect', 0)

/** True, and said so, when nothing matches; what was planned may have been done by somebody else. */
export const nothingMatches = ({ output }: Invocation, { keys }: DeadPlan, expected: number | undefined): boolean => {
  if (keys > 0 || (expected ?? 0) > 0) return false
  output.answer({ json: { keys: 0 }, text: [output.paint.good('nothing matches, nothing to do')] })
  return true
}
