/** Dead letters as text: for someone who was woken up. */

import type { DeadLetterDetail } from '../operate/dead-letter.ts'
import type { DeadCount, DeadGroup, DeadLetter } from '../operate/dead-letters.ts'
import { dataLines } from './output/data.ts'
import type { Output } from './output/output.ts'
import { indented, table } from './output/table.ts'
import { cut, line, type Painted, plain } from './output/text.ts'
import { argument, count, number } from './output/words.ts'
import { eventName } from './log.ts'

const messageWidth = 120

const behindWords = (waiting: number): string =>
  waiting === 0 ? 'nothing waits behind' : `${count(waiting, 'event')} ${waiting === 1 ? 'waits' : 'wait'} behind`

export const deadGroupLines = (
  output: Output,
  { keys, waiting }: DeadCount,
  groups: readonly DeadGroup[],
  nowMs: number,
): Painted[] => {
  const { paint } = output
  return [
    line`${paint.bold(count(keys, 'key'))} ${keys === 1 ? 'is' : 'are'} stuck for ${count(groups.length, 'reason')}, ${behindWords(waiting)}`,
    plain(''),
    ...groups.flatMap((group) => [
      line`${paint.bold(group.group)}  ${paint.bold(`${group.context}/${group.consumer}`)}  ${paint.bad(group.fingerprint)}`,
      line`  ${cut(group.newest.error.message, messageWidth)}`,
      line`  ${count(group.keys, 'key')} ${group.status}, ${behindWords(group.waiting)}; first ${output.time(group.firstFailedAt, nowMs)}, last ${output.time(group.lastFailedAt, nowMs)}`,
      ...(group.status === 'dead' ? [line`  ${output.next(`pabal dead retry --group ${group.group}`)}`] : []),
      plain(''),
    ]),
  ]
}

export const deadTable = (output: Output, letters: readonly DeadLetter[], nowMs: number): Painted[] =>
  table(
    [
      { head: 'event' },
      { head: 'consumer' },
      { head: 'key' },
      { head: 'type' },
      { head: 'status' },
      { head: 'runs', align: 'right' },
      { head: 'failed', align: 'right' },
      { head: 'waiting', align: 'right' },
      { head: 'group' },
    ],
    letters.map((letter) => [
      letter.id,
      `${letter.context}/${letter.consumer}`,
      line`${letter.key}${output.paint.dim(`#${letter.sequence}`)}`,
      eventName(output, letter),
      statusCell(output, letter, nowMs),
      number(letter.attempts),
      output.time(letter.lastFailedAt, nowMs),
      number(letter.waiting),
      letter.group,
    ]),
    output.paint.dim,
  )

const statusCell = (output: Output, { status, nextAttemptAt }: DeadLetter, nowMs: number): Painted => {
  if (status === 'dead') return output.paint.bad('dead')
  const due = nextAttemptAt === null || nextAttemptAt <= nowMs ? 'now' : output.time(nextAttemptAt, nowMs)
  return output.paint.careful(`again ${due}`)
}

export const deadDetailLines = (output: Output, letter: DeadLetterDetail, nowMs: number): Painted[] => {
  const { paint } = output
  const { context, consumer, key, sequence, error, attempts, edited } = letter
  return [
    line`${paint.bad(letter.status === 'dead' ? '✗' : '↻')} ${paint.bold(`${context}/${consumer}`)} cannot handle ${eventName(output, letter)}`,
    line`  key ${paint.bold(key)}, number ${sequence}, of ${letter.source}${letter.at === null ? '' : `, raised ${output.time(letter.at, nowMs)}`}`,
    line`  event ${letter.id}${letter.correlationId === null ? '' : `, correlation ${letter.correlationId}`}`,
    line`  ${count(attempts, 'run')}, first failed ${output.time(letter.firstFailedAt, nowMs)}, last ${output.time(letter.lastFailedAt, nowMs)}`,
    ...(edited === null
      ? []
      : [line`  ${paint.careful('edited')} by ${edited.by}: ${edited.reason} (copy ${edited.id})`]),
    plain(''),
    line`${paint.bold('why')}  ${paint.dim(`group ${letter.group}`)}`,
    line`  ${paint.bad(error.name)}: ${error.message}`,
    ...stackLines(output, letter),
    plain(''),
    line`${paint.bold('payload')}${edited === null ? '' : ', as edited'}`,
    ...(letter.dataError === null ? indented(dataLines(letter.data)) : [line`  ${paint.bad(letter.dataError)}`]),
    plain(''),
    ...behindLines(output, letter, nowMs),
    plain(''),
    ...retryLines(output, letter, nowMs),
  ]
}

const stackLines = ({ paint }: Output, { stack }: DeadLetterDetail): Painted[] =>
  (stack ?? '')
    .split('\n')
    .filter((each) => /^\s+at /.test(each) && !/\(?node:|\/node_modules\//.test(each))
    .slice(0, 8)
    .map((each) => line`    ${paint.dim(each.trim())}`)

const behindLines = (output: Output, { waiting, behind, key }: DeadLetterDetail, nowMs: number): Painted[] => {
  const { paint } = output
  if (waiting === 0 && behind.length === 0)
    return [line`${paint.bold('behind it')}  nothing waits; later events of key ${key} will`]
  return [
    line`${paint.bold('behind it')}  ${count(Math.max(waiting, behind.length), 'event')} of key ${key}`,
    ...behind.map(
      (event) => line`  ${paint.dim(`#${event.sequence}`)} ${event.type} ${paint.dim(output.time(event.at, nowMs))}`,
    ),
    ...(waiting > behind.length ? [line`  ${paint.dim(`… and ${number(waiting - behind.length)} more`)}`] : []),
  ]
}

/** What happens, then what to type. */
const retryLines = (output: Output, letter: DeadLetterDetail, nowMs: number): Painted[] => {
  const { paint } = output
  const { retry } = letter
  const address = `${letter.id} --consumer ${argument(`${letter.context}/${letter.consumer}`)}`
  if (retry === null)
    return [paint.careful('this app has no handler of that name: it cannot be retried, edited or skipped here')]
  const twice =
    retry.idempotencyKey === null
      ? 'what it wrote was undone, so nothing is done twice'
      : `outside it may have done something already: it is called with the idempotency key ${retry.idempotencyKey} again`
  const exhausted =
    retry.whenExhausted === 'park'
      ? 'then it is dead again'
      : retry.whenExhausted === 'skip'
        ? 'then it is left out'
        : 'then it raises an event and goes on'
  return [
    paint.bold('a retry'),
    line`  runs the handler up to ${count(retry.attempts, 'time')}, ${exhausted}; ${twice}`,
    ...(letter.waiting > 0 ? [line`  then what waits behind, in order`] : []),
    ...(letter.nextAttemptAt === null
      ? []
      : [line`  by itself ${letter.nextAttemptAt <= nowMs ? 'now' : output.time(letter.nextAttemptAt, nowMs)}`]),
    plain(''),
    line`  ${output.next(`pabal dead retry ${address} --wait`)}`,
    line`  ${output.next(`pabal dead edit ${address} --data @corrected.json --reason "…"`)}`,
    line`  ${output.next(`pabal dead skip ${address} --reason "…"`)}`,
    ...(letter.correlationId === null ? [] : [line`  ${output.next(`pabal trace ${letter.id}`)}`]),
  ]
}
