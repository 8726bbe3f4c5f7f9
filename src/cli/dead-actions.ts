/** Retry, edit and skip: plan first, then do it, then say what became of it. */

import { readFileSync } from 'node:fs'
import { PabalError } from '../core/errors.ts'
import { deadLetterOf, type FoundDeadLetter, findDead } from '../operate/dead-letters.ts'
import { edit, planEdit } from '../operate/edit.ts'
import type { Operated } from '../operate/operated.ts'
import { awaitOutcome, type Outcome } from '../operate/outcome.ts'
import { type DeadPlan, planDead, retryAll, retryOne } from '../operate/retry.ts'
import { skipAll, skipOne } from '../operate/skip.ts'
import { deadTable } from './dead-text.ts'
import { type DeadOptions, filterOf } from './dead.ts'
import { type Invocation, integer, milliseconds } from './invocation.ts'
import { changeLines } from './output/data.ts'
import type { Output } from './output/output.ts'
import { indented } from './output/table.ts'
import { line, type Painted, plain } from './output/text.ts'
import { argument, count, number } from './output/words.ts'

interface BulkOptions extends DeadOptions {
  readonly all?: boolean
  readonly expect?: string
}
interface WaitOptions {
  readonly wait?: string | true
}

const addressOf = ({ context, row }: FoundDeadLetter): string => `${context.context}/${row.consumer}`

/** Nothing given is no filter: everything has to be asked for. */
const checkFiltered = ({ context, consumer, key, type, group, all }: BulkOptions): void => {
  if ([context, consumer, key, type, group].some((each) => each !== undefined) || all === true) return
  throw new PabalError('PABAL_USAGE', 'which ones? Give the id of an event, a filter such as --group or --consumer, or --all')
}

/** The filter as it was typed. */
const typed = (options: BulkOptions): string =>
  (['context', 'consumer', 'key', 'type', 'group'] as const)
    .flatMap((name) => (options[name] === undefined ? [] : [`--${name} ${argument(options[name])}`]))
    .concat(options.all === true ? ['--all'] : [])
    .join(' ')

const planLines = (output: Output, verb: string, plan: DeadPlan, nowMs: number): Painted[] => [
  line`would ${verb} ${output.paint.bold(count(plan.keys, 'dead letter'))}; ${count(plan.waiting, 'event')} behind ${plan.keys === 1 ? 'it' : 'them'} will go on`,
  ...plan.groups.map((group) => line`  ${number(group.keys)} × ${group.context}/${group.consumer}  ${output.paint.bad(group.fingerprint)}`),
  plain(''),
  ...indented(deadTable(output, plan.sample, nowMs)),
  ...(plan.sample.length < plan.keys ? [line`  ${output.paint.dim(`… and ${number(plan.keys - plan.sample.length)} more`)}`] : []),
]

const expectedOf = ({ expect }: BulkOptions): number | undefined => (expect === undefined ? undefined : integer(expect, '--expect', 0))

export const retryDead = async (
  invocation: Invocation,
  id: string | undefined,
  options: BulkOptions & WaitOptions,
): Promise<number | void> => {
  const { output } = invocation
  const expected = expectedOf(options)
  const waitMs = waitOf(options)
  const operated = await invocation.operated()
  if (id !== undefined) {
    const found = await findDead(operated, id, filterOf(options))
    const sinceMs = operated.environment.now()
    await retryOne(operated, found, invocation.operator)
    return tell(invocation, operated, found, { action: 'retry', sinceMs, waitMs })
  }
  checkFiltered(options)
  const plan = await planDead(operated, filterOf(options))
  if (plan.keys === 0) return nothing(invocation)
  invocation.confirm({
    json: plan,
    text: planLines(output, 'retry', plan, operated.environment.now()),
    command: `pabal dead retry ${typed(options)} --expect ${plan.keys} --yes`,
  })
  const { keys } = await retryAll(operated, filterOf(options), invocation.operator, expected)
  output.answer({
    json: { action: 'retry', keys },
    text: [line`${output.paint.good('queued')} ${count(keys, 'key')}; the running app takes them up by itself`, output.next('pabal dead list --status all')],
  })
}

export const skipDead = async (invocation: Invocation, id: string | undefined, options: BulkOptions): Promise<void> => {
  const { output, reasoned } = invocation
  const expected = expectedOf(options)
  const operated = await invocation.operated()
  const nowMs = operated.environment.now()
  const reason = `--reason ${argument(reasoned.reason)}`
  if (id !== undefined) {
    const found = await findDead(operated, id, filterOf(options))
    const letter = deadLetterOf(found.context, found.row)
    invocation.confirm({
      json: { keys: 1, waiting: letter.waiting, sample: [letter] },
      text: [
        line`would leave out ${output.paint.bold(letter.type)} ${letter.id} for ${addressOf(found)}, for good; ${count(letter.waiting, 'event')} behind it will go on`,
      ],
      command: `pabal dead skip ${id} --consumer ${argument(addressOf(found))} ${reason} --yes`,
    })
    await skipOne(operated, found, reasoned)
    output.answer({
      json: { action: 'skip', skipped: 1, changed: 0 },
      text: [line`${output.paint.careful('skipped')} ${letter.id} for ${addressOf(found)}; key ${letter.key} goes on`],
    })
    return
  }
  checkFiltered(options)
  const plan = await planDead(operated, filterOf(options))
  if (plan.keys === 0) return nothing(invocation)
  invocation.confirm({
    json: plan,
    text: planLines(output, 'leave out, for good,', plan, nowMs),
    command: `pabal dead skip ${typed(options)} ${reason} --expect ${plan.keys} --yes`,
  })
  const { skipped, changed } = await skipAll(operated, filterOf(options), reasoned, expected)
  output.answer({
    json: { action: 'skip', skipped, changed },
    text: [
      line`${output.paint.careful('skipped')} ${count(skipped, 'dead letter')}; their keys go on`,
      ...(changed === 0 ? [] : [line`${number(changed)} had changed meanwhile and were left alone`]),
    ],
  })
}

const nothing = ({ output }: Invocation): void => output.answer({ json: { keys: 0 }, text: [output.paint.good('nothing matches, nothing to do')] })

export const editDead = async (
  invocation: Invocation,
  id: string | undefined,
  options: DeadOptions & WaitOptions & { readonly data: string },
): Promise<number | void> => {
  const { output, reasoned } = invocation
  const waitMs = waitOf(options)
  const operated = await invocation.operated()
  const found = await findDead(operated, id, filterOf(options))
  const plan = await planEdit(operated, found, readData(options.data))
  const changes = changeLines(output.paint, plan.before, plan.after)
  const { row } = found
  invocation.confirm({
    json: { event: row.event_id, consumer: addressOf(found), before: plan.before, after: plan.after },
    text: [
      line`would hand ${addressOf(found)} a corrected copy in place of ${row.type} ${row.event_id}; the log keeps the original`,
      ...(changes.length === 0 ? [line`  ${output.paint.careful('!')} nothing is different`] : indented(changes)),
    ],
    command: `pabal dead edit ${row.event_id} --consumer ${argument(addressOf(found))} --data ${argument(options.data)} --reason ${argument(reasoned.reason)} --yes`,
  })
  const sinceMs = operated.environment.now()
  const copy = await edit(operated, found, plan, reasoned)
  return tell(invocation, operated, found, { action: 'edit', sinceMs, waitMs, copy })
}

/** @throws PABAL_USAGE when the file cannot be read */
const readData = (given: string): string => {
  if (given !== '-' && !given.startsWith('@')) return given
  try {
    return readFileSync(given === '-' ? 0 : given.slice(1), 'utf8')
  } catch (error) {
    throw new PabalError('PABAL_USAGE', `--data ${given} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}

const waitDefaultMs = 30_000

const waitOf = ({ wait }: WaitOptions): number | undefined => {
  if (wait === undefined) return undefined
  return wait === true ? waitDefaultMs : milliseconds(wait, '--wait')
}

interface Done {
  readonly action: 'retry' | 'edit'
  readonly sinceMs: number
  readonly waitMs: number | undefined
  readonly copy?: string
}

/** What was done, and with `--wait` what became of it: exit code 1 when it failed again, or nobody has tried it. */
const tell = async (
  invocation: Invocation,
  operated: Operated,
  found: FoundDeadLetter,
  { action, sinceMs, waitMs, copy }: Done,
): Promise<number | void> => {
  const { output } = invocation
  const { row } = found
  const what = { action, event: row.event_id, consumer: addressOf(found), key: row.key, ...(copy === undefined ? {} : { copy }) }
  if (waitMs === undefined) {
    output.answer({
      json: { ...what, outcome: null },
      text: [
        line`${output.paint.good('queued')} key ${row.key} of ${addressOf(found)}; the running app takes it up by itself (--wait tells what became of it)`,
      ],
    })
    return
  }
  const outcome = await awaitOutcome(operated, found, sinceMs, waitMs)
  output.answer({ json: { ...what, outcome: outcome.state }, text: outcomeLines(output, found, outcome, operated.environment.now()) })
  return outcome.state === 'failed' || outcome.state === 'untried' ? 1 : 0
}

const outcomeLines = (output: Output, found: FoundDeadLetter, outcome: Outcome, nowMs: number): Painted[] => {
  const { paint } = output
  const { row } = found
  switch (outcome.state) {
    case 'handled':
      return [line`${paint.good('✓ handled')} ${row.type} ${row.event_id}; key ${row.key} goes on`]
    case 'skipped':
      return [line`${paint.careful('↷ left out')} by ${outcome.by}: ${outcome.reason}`]
    case 'failed': {
      const { error, status, next_ms } = outcome.row
      const again = status === 'dead' ? 'it is dead again' : `again ${output.time(next_ms, nowMs)}`
      return [
        line`${paint.bad('✗ failed again')}, ${again}: ${error.name}: ${error.message}`,
        output.next(`pabal dead show ${row.event_id} --consumer ${argument(addressOf(found))}`),
      ]
    }
    default:
      return [line`${paint.careful('nobody has tried it yet')}: is the app running, and the consumer not paused?`, output.next('pabal status')]
  }
}
