/** `pabal log`: what has happened; lines without payloads, one event in full, or what comes. */

import { Command } from 'commander'
import { PabalError } from '../core/errors.ts'
import { Deliveries, type Delivery } from '../operate/deliveries.ts'
import { type LoggedEvent, loggedEvent } from '../operate/event-record.ts'
import { cloudEventOf, findEvent, followEvents, type LogFilter, listEvents } from '../operate/log.ts'
import { deliveryLine } from './delivery.ts'
import { type Invocation, integer, milliseconds } from './invocation.ts'
import { dataLines } from './output/data.ts'
import type { Output } from './output/output.ts'
import { indented, table } from './output/table.ts'
import { line, type Painted, plain } from './output/text.ts'
import type { Act } from './program.ts'

interface FilterOptions {
  readonly context?: string
  readonly type?: readonly string[]
  readonly key?: string
}

const collect = (value: string, previous: readonly string[] = []): readonly string[] => [...previous, value]

const filtered = (command: Command): Command =>
  command
    .option('--context <name>', 'only the log of this context')
    .option('--type <type>', "only this type, or a pattern such as 'ordering.*'; can be repeated", collect)
    .option('--key <key>', 'only this key')

const filterOf = ({ context, type, key }: FilterOptions): LogFilter => ({ context, types: type, key })

export const logCommands = (act: Act): Command => {
  const log = new Command('log').description('what has happened')
  filtered(log.command('list').description('the last events, or those after a position; never payloads'))
    .option('--after <position>', 'the first events after this position')
    .option('--before <position>', 'only events before this position')
    .option('--limit <number>', 'at most so many', '50')
    .action(act(list))
  log
    .command('show')
    .description('one event as a CloudEvent, with its payload, and who has handled it')
    .argument('<id>', "an event's id, or a position such as 42 or ordering:42")
    .option('--context <name>', 'the context whose log it is in')
    .action(act(show))
  filtered(log.command('tail').description('new events as they come; ends with Ctrl-C, --limit or --for'))
    .option('--recent <number>', 'begin with so many that are there already', '10')
    .option('--limit <number>', 'end after so many')
    .option('--for <time>', 'end after this time, such as 30s')
    .action(act(tail))
  return log
}

interface ListOptions extends FilterOptions {
  readonly after?: string
  readonly before?: string
  readonly limit: string
}

const list = async (invocation: Invocation, options: ListOptions): Promise<void> => {
  const { output } = invocation
  const position = (text: string | undefined, option: string) =>
    text === undefined ? undefined : integer(text, option, 0)
  const range = {
    after: position(options.after, '--after'),
    before: position(options.before, '--before'),
    limit: integer(options.limit, '--limit', 1, 100_000),
  }
  const operated = await invocation.operated()
  const events = await listEvents(operated, filterOf(options), range)
  output.answer({
    json: { events },
    rows: events,
    text:
      events.length === 0 ? [output.paint.dim('no events')] : eventTable(output, events, operated.environment.now()),
  })
}

const eventTable = (output: Output, events: readonly LoggedEvent[], nowMs: number): Painted[] =>
  table(
    [
      { head: 'position', align: 'right' },
      { head: 'time', align: 'right' },
      { head: 'event' },
      { head: 'key' },
      { head: 'id' },
    ],
    events.map((event) => eventCells(output, event, nowMs)),
    output.paint.dim,
  )

const eventCells = (output: Output, event: LoggedEvent, nowMs: number): readonly Painted[] => [
  plain(`${event.context}:${event.position}`),
  plain(output.time(event.at, nowMs)),
  eventName(output, event),
  line`${event.key}${output.paint.dim(`#${event.sequence}`)}`,
  output.paint.dim(event.id),
]

export const eventName = ({ paint }: Output, { title, type }: { title: string | null; type: string }): Painted =>
  title === null ? plain(type) : line`${title} ${paint.dim(type)}`

const show = async (invocation: Invocation, id: string, { context }: { context?: string }): Promise<void> => {
  const { output } = invocation
  const operated = await invocation.operated()
  const found = await findEvent(operated, id, context)
  const event = loggedEvent(found.log, found.row)
  const deliveries = await (await Deliveries.open(operated)).of(found)
  output.document(
    cloudEventOf(found),
    eventLines(output, event, found.row.data, deliveries, operated.environment.now()),
  )
}

const eventLines = (
  output: Output,
  event: LoggedEvent,
  data: string,
  deliveries: readonly Delivery[],
  nowMs: number,
): Painted[] => {
  const { paint } = output
  const facts: [string, string | null][] = [
    ['id', event.id],
    ['position', `${event.context}:${event.position}`],
    ['key', `${event.key}, number ${event.sequence}`],
    ['time', `${new Date(event.at).toISOString()}, ${output.time(event.at, nowMs)}`],
    ['version', event.version === 1 ? null : String(event.version)],
    ['correlation', event.correlationId],
    ['caused by', event.causationId],
  ]
  const shown = facts.filter((fact): fact is [string, string] => fact[1] !== null)
  return [
    paint.bold(eventName(output, event)),
    ...indented(
      table(
        [{ head: '' }, { head: '' }],
        shown.map(([name, value]) => [paint.dim(name), value]),
        plain,
      ).slice(1),
    ),
    plain(''),
    ...indented(dataLines(JSON.parse(data))),
    plain(''),
    ...(deliveries.length === 0 ? [line`  ${paint.dim('no consumer here handles it')}`] : []),
    ...deliveries.map((delivery) => line`  ${deliveryLine(output, delivery, nowMs)}`),
    line`  ${output.next(`pabal trace ${event.id}`)}`,
  ]
}

interface TailOptions extends FilterOptions {
  readonly recent: string
  readonly limit?: string
  readonly for?: string
}

const tail = async (invocation: Invocation, options: TailOptions): Promise<void> => {
  const { output } = invocation
  if (output.format === 'json') throw new PabalError('PABAL_USAGE', 'a stream is no JSON document: use -o jsonl')
  const limit = options.limit === undefined ? Number.MAX_SAFE_INTEGER : integer(options.limit, '--limit', 1)
  const recent = integer(options.recent, '--recent', 0, 10_000)
  const forMs = options.for === undefined ? undefined : milliseconds(options.for, '--for')
  const operated = await invocation.operated()
  const ended = new AbortController()
  process.once('SIGINT', () => ended.abort())
  process.once('SIGTERM', () => ended.abort())
  const signals = [ended.signal]
  if (forMs !== undefined) signals.push(AbortSignal.timeout(forMs))
  let shown = 0
  const follow = { recent, signal: AbortSignal.any(signals) }
  for await (const event of followEvents(operated, filterOf(options), follow)) {
    const [position, time, name, key, id] = eventCells(output, event, operated.environment.now())
    output.row(event, line`${position!}  ${time!}  ${name!}  ${key!}  ${id!}`)
    if (++shown >= limit) return
  }
}
