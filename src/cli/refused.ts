/** `pabal refused`: what a context could not take of what its broker brought. */

import { Command } from 'commander'
import { PabalError } from '../core/errors.ts'
import {
  discardRefused,
  listRefused,
  type RefusedFilter,
  type RefusedMessage,
  retryRefused,
  showRefused,
} from '../operate/refused.ts'
import { type Invocation, integer } from './invocation.ts'
import type { Output } from './output/output.ts'
import { table } from './output/table.ts'
import { cut, line, type Painted, plain } from './output/text.ts'
import { argument, bytes, count } from './output/words.ts'
import type { Act } from './program.ts'

interface PlaceOptions {
  readonly context?: string
  readonly source?: string
}
interface BulkOptions extends PlaceOptions {
  readonly all?: boolean
  readonly expect?: string
}

const reasonWidth = 100
const bodyLetters = 4_000

const placed = (command: Command): Command =>
  command
    .option('--context <name>', 'only what this context has refused')
    .option('--source <name>', 'only what came from this context or foreign producer')

const several = (command: Command): Command =>
  placed(command.argument('[id]', 'one message; without it, all that match'))
    .option('--all', 'all that any context has refused')
    .option('--expect <number>', 'refuse when not so many match')

export const refusedCommands = (act: Act): Command => {
  const refused = new Command('refused').description('messages that a context had no use for, as its broker keeps them')
  placed(refused.command('list').description('the oldest first, with the reason; never payloads'))
    .option('--limit <number>', 'of each context and source, at most so many', '50')
    .action(act(list))
  placed(
    refused.command('show').description('one with all that came').argument('<id>', 'as `refused list` names it'),
  ).action(act(show))
  several(
    refused.command('retry').description('give them to their contexts once more; what is refused again stays'),
  ).action(act(retry))
  several(refused.command('discard').description('throw them away for good, with --reason')).action(act(discard))
  return refused
}

const list = async (invocation: Invocation, options: PlaceOptions & { readonly limit: string }): Promise<void> => {
  const { output } = invocation
  const messages = await listRefused(await invocation.app(), options, integer(options.limit, '--limit', 1, 10_000))
  const [first] = messages
  output.answer({
    json: { refused: messages },
    rows: messages,
    text:
      first === undefined
        ? [output.paint.good('nothing was refused')]
        : [
            ...messageTable(output, messages),
            plain(''),
            output.next(`pabal refused show ${typed(first.id, placeOf(first))}`),
          ],
  })
}

const show = async (invocation: Invocation, id: string, options: PlaceOptions): Promise<void> => {
  const { output } = invocation
  const { paint } = output
  const found = await showRefused(await invocation.app(), { ...options, id })
  const { event, reason, body } = found
  output.answer({
    json: found,
    text: [
      line`${paint.bold(found.id)}  refused by ${paint.bold(found.context)}, from ${found.source} over ${found.transport}`,
      line`${paint.bad(reasonOf(found))}`,
      event === null
        ? line`no event can be read in it`
        : line`event ${event.id}  ${event.type}  ${event.key === null ? '' : `key ${event.key}`}`,
      plain(''),
      ...body.slice(0, bodyLetters).split('\n').map(plain),
      ...(body.length > bodyLetters ? [paint.dim('…')] : []),
      line`${paint.dim(`${bytes(found.bytes)} in all`)}`,
      plain(''),
      output.next(`pabal refused retry ${typed(id, placeOf(found))}`),
      ...(reason === null ? [paint.careful('mind that it may end the process that takes it')] : []),
    ],
  })
}

const retry = async (invocation: Invocation, id: string | undefined, options: BulkOptions): Promise<void> => {
  const { output, operator } = invocation
  const app = await invocation.app()
  const filter = filterOf(id, options)
  const found = await listRefused(app, filter)
  if (nothingMatches(output, found, options)) return
  if (id === undefined)
    invocation.confirm({
      json: { refused: found.length },
      text: planLines(output, 'give to their contexts once more', found),
      command: `pabal refused retry ${typed(id, options)} --expect ${found.length} --yes`,
    })
  const { taken, refused } = await retryRefused(app, filter, operator, expectedOf(options))
  output.answer({
    json: { action: 'retry', taken, refused },
    text: [
      line`${taken > 0 ? output.paint.good('✓') : output.paint.bad('✗')} taken: ${taken}${refused.length > 0 ? `, refused again: ${refused.length}` : ''}`,
      ...refused.slice(0, 5).map((each) => line`  ${each.id}  ${output.paint.bad(cut(each.again, reasonWidth))}`),
    ],
  })
}

const discard = async (invocation: Invocation, id: string | undefined, options: BulkOptions): Promise<void> => {
  const { output, reasoned } = invocation
  const app = await invocation.app()
  const filter = filterOf(id, options)
  const found = await listRefused(app, filter)
  if (nothingMatches(output, found, options)) return
  invocation.confirm({
    json: { refused: found.length },
    text: planLines(output, 'throw away, for good,', found),
    command: `pabal refused discard ${typed(id, options)} --reason ${argument(reasoned.reason)} --expect ${found.length} --yes`,
  })
  const discarded = await discardRefused(app, filter, reasoned, expectedOf(options))
  output.answer({
    json: { action: 'discard', discarded },
    text: [line`${output.paint.careful('thrown away')}: ${count(discarded, 'message')}`],
  })
}

const filterOf = (id: string | undefined, { context, source, all }: BulkOptions): RefusedFilter => {
  if ([id, context, source].every((each) => each === undefined) && all !== true)
    throw new PabalError('PABAL_USAGE', 'which ones? Give the id of a message, --context, --source, or --all')
  return { id, context, source }
}

const expectedOf = ({ expect }: BulkOptions): number | undefined =>
  expect === undefined ? undefined : integer(expect, '--expect', 0)

const nothingMatches = (output: Output, found: readonly RefusedMessage[], options: BulkOptions): boolean => {
  if (found.length > 0 || (expectedOf(options) ?? 0) > 0) return false
  output.answer({ json: { refused: 0 }, text: [output.paint.good('nothing matches, nothing to do')] })
  return true
}

const placeOf = ({ context, source }: RefusedMessage): PlaceOptions => ({ context, source })

/** The selection as it is typed. */
const typed = (id: string | undefined, { context, source, all }: BulkOptions): string =>
  [
    ...(id === undefined ? [] : [argument(id)]),
    ...(context === undefined ? [] : [`--context ${argument(context)}`]),
    ...(source === undefined ? [] : [`--source ${argument(source)}`]),
    ...(all === true ? ['--all'] : []),
  ].join(' ')

const planLines = (output: Output, verb: string, found: readonly RefusedMessage[]): Painted[] => [
  line`would ${verb} ${output.paint.bold(count(found.length, 'refused message'))}`,
  plain(''),
  ...messageTable(output, found.slice(0, 5)),
  ...(found.length > 5 ? [line`${output.paint.dim(`… and ${found.length - 5} more`)}`] : []),
]

const reasonOf = ({ reason }: RefusedMessage): string => reason ?? 'set aside by the broker, after many deliveries'

const messageTable = ({ paint }: Output, messages: readonly RefusedMessage[]): Painted[] =>
  table(
    [
      { head: 'id' },
      { head: 'context' },
      { head: 'from' },
      { head: 'over' },
      { head: 'event' },
      { head: 'bytes', align: 'right' },
      { head: 'reason' },
    ],
    messages.map((message) => [
      message.id,
      message.context,
      message.source,
      message.transport,
      message.event?.type ?? paint.dim('none'),
      bytes(message.bytes),
      paint.bad(cut(reasonOf(message), reasonWidth)),
    ]),
    paint.dim,
  )
