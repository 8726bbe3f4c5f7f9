/** `pabal status`: what needs a person first, then every context and consumer. */

import { Command } from 'commander'
import { PabalError } from '../core/errors.ts'
import type { ConsumerStatus } from '../operate/consumer-status.ts'
import type { Concern } from '../operate/concerns.ts'
import { type AppStatus, type ContextStatus, statusOf } from '../operate/status.ts'
import type { Invocation } from './invocation.ts'
import { type Output, ownerOf } from './output/output.ts'
import { indented, table } from './output/table.ts'
import { cut, joined, line, type Paintable, type Painted, plain } from './output/text.ts'
import { lengthOf } from './output/time.ts'
import { count, number } from './output/words.ts'
import type { Act } from './program.ts'

export const statusCommand = (act: Act): Command =>
  new Command('status')
    .description('how the app is doing: logs, consumers, and what needs a person')
    .option('--check', 'exit with 4 when something needs a person')
    .action(act(status))

const status = async (invocation: Invocation, { check }: { check?: boolean }): Promise<void> => {
  const { output } = invocation
  const found = await statusOf(await invocation.operated())
  output.answer({
    json: found,
    rows: found.contexts.flatMap(({ consumers }) => consumers),
    text: [
      ...concernLines(output, found.concerns),
      plain(''),
      ...found.contexts.flatMap((context) => contextLines(output, found, context)),
    ],
  })
  const problems = found.concerns.filter(({ level }) => level === 'problem').length
  if (check === true && problems > 0)
    throw new PabalError(
      'PABAL_CHECK_FAILED',
      `${count(problems, 'thing')} ${problems === 1 ? 'needs' : 'need'} a person`,
    )
}

/** An error's message may be a page; the rest of it is in `dead show`. */
const detailWidth = 160

/** The problem, then what to type. */
const concernLines = (output: Output, concerns: readonly Concern[]): Painted[] => {
  const { paint } = output
  if (concerns.length === 0) return [line`${paint.good('✓')} nothing needs a person`]
  const problems = concerns.filter(({ level }) => level === 'problem').length
  const head =
    problems === 0
      ? paint.careful(count(concerns.length, 'thing') + ' to know')
      : paint.bad(`${count(problems, 'thing')} ${problems === 1 ? 'needs' : 'need'} you`)
  return [
    paint.bold(head),
    ...concerns.flatMap(({ level, title, context, consumer, detail, remedy, command }) => [
      line`${level === 'problem' ? paint.bad('✗') : paint.careful('!')} ${paint.bold(`${context}/${consumer}`)} ${title}: ${cut(detail, detailWidth)}`,
      ...(remedy === undefined ? [] : [line`    ${remedy}`]),
      ...(command === undefined ? [] : [line`    ${output.next(command)}`]),
    ]),
  ]
}

const contextLines = (
  output: Output,
  { at }: AppStatus,
  { context, title, database, log, consumers }: ContextStatus,
): Painted[] => {
  const { paint } = output
  const last = log.lastAt === null ? '' : `, the last ${output.time(log.lastAt, at)}`
  const kept = log.oldest > 1 && log.events > 0 ? `, kept from position ${number(log.oldest)}` : ''
  const received = log.receivedEvents === 0 ? '' : `, and ${number(log.receivedEvents)} received`
  const operators = log.operatorEvents === 0 ? '' : `, and ${number(log.operatorEvents)} by operators`
  return [
    line`${paint.bold(context)}${title === null ? '' : ` ${title}`}  ${paint.dim(database)}`,
    line`  ${count(log.events, 'event')}${last}, at position ${number(log.head)}${kept}${received}${operators}`,
    ...indented(consumers.length === 0 ? [] : consumerTable(output, consumers)),
    plain(''),
  ]
}

export const consumerTable = ({ paint }: Output, consumers: readonly ConsumerStatus[]): Painted[] =>
  table(
    [
      { head: 'consumer' },
      { head: 'reads' },
      { head: 'effects' },
      { head: 'state' },
      { head: 'lag', align: 'right' },
      { head: 'oldest', align: 'right' },
      { head: 'late', align: 'right' },
      { head: 'retrying', align: 'right' },
      { head: 'dead', align: 'right' },
      { head: 'waiting', align: 'right' },
      { head: 'skipped', align: 'right' },
      { head: 'runs in' },
    ],
    consumers.map((consumer) => {
      const zero = (value: number | null, style: (value: Paintable) => Painted): Painted =>
        value === null ? paint.dim('–') : value === 0 ? paint.dim('0') : style(number(value))
      return [
        consumer.title === null ? consumer.consumer : line`${consumer.consumer} ${paint.dim(consumer.title)}`,
        consumer.source,
        consumer.effects,
        stateCell(paint, consumer),
        zero(consumer.lagEvents, paint.careful),
        consumer.lagMs === null ? paint.dim('–') : lengthOf(consumer.lagMs),
        zero(consumer.late, paint.bad),
        zero(consumer.retryingKeys, paint.careful),
        zero(consumer.deadKeys, paint.bad),
        zero(consumer.waiting, paint.careful),
        zero(consumer.skipped, plain),
        ownersCell(paint, consumer),
      ]
    }),
    paint.dim,
  )

const stateCell = (paint: Output['paint'], { state, handler, rewound }: ConsumerStatus): Painted => {
  if (!handler) return paint.careful(`${state}, no handler`)
  if (rewound) return paint.bad('rewound')
  if (state === 'active') return paint.good(state)
  return state === 'held' ? paint.bad(state) : paint.careful(state)
}

const ownersCell = (paint: Output['paint'], { lanes }: ConsumerStatus): Painted => {
  const owners = new Set(lanes.flatMap(({ owner, leased }) => (owner === null || !leased ? [] : [ownerOf(owner)])))
  return owners.size === 0 ? paint.dim('–') : joined([...owners], ', ')
}
