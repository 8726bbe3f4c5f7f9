/** `pabal dead retry` and `pabal dead edit`: the handler runs again, on the event or on a corrected copy of it. */

import { readFileSync } from 'node:fs'
import { PabalError } from '../core/errors.ts'
import { findDead } from '../operate/dead-letters.ts'
import { edit, planEdit } from '../operate/edit.ts'
import { planDead, retryAll, retryOne } from '../operate/retry.ts'
import { tell, type WaitOptions, waitOf } from './dead-outcome.ts'
import {
  addressOf,
  type BulkOptions,
  checkFiltered,
  type DeadOptions,
  expectedOf,
  filterOf,
  nothingMatches,
  planLines,
  typed,
} from './dead-selection.ts'
import type { Invocation } from './invocation.ts'
import { changeLines } from './output/data.ts'
import { indented } from './output/table.ts'
import { line } from './output/text.ts'
import { argument, count } from './output/words.ts'

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
  if (nothingMatches(invocation, plan, expected)) return undefined
  invocation.confirm({
    json: plan,
    text: planLines(output, 'retry', plan, operated.environment.now()),
    command: `pabal dead retry ${typed(options)} --expect ${plan.keys} --yes`,
  })
  const { keys } = await retryAll(operated, filterOf(options), invocation.operator, expected)
  output.answer({
    json: { action: 'retry', keys },
    text: [
      line`${output.paint.good('queued')} ${count(keys, 'key')}; the running app takes them up by itself`,
      output.next('pabal dead list --status all'),
    ],
  })
}

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
  return tell(invocation, operated, found, { action: 'edit', sinceMs, waitMs, copy, data: plan.after })
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
