/** `pabal dead`: what is stuck, why, what waits behind it, and what to do. */

import { Command, Option } from 'commander'
import { countDead, findDead, groupDead, listDead } from '../operate/dead-letters.ts'
import { showDead } from '../operate/dead-letter.ts'
import { type Invocation, integer } from './invocation.ts'
import { deadDetailLines, deadGroupLines, deadTable } from './dead-text.ts'
import { editDead, retryDead } from './dead-retry.ts'
import { type DeadOptions, filterOf } from './dead-selection.ts'
import { skipDead } from './dead-skip.ts'
import { plain } from './output/text.ts'
import type { Act } from './program.ts'

const filtered = (command: Command): Command =>
  command
    .option('--context <name>', 'only of this context')
    .option('--consumer <name>', 'only of this consumer: its name, or context/name')
    .option('--key <key>', 'only of this key')
    .option('--type <type>', 'only where this type of event failed')
    .option('--group <id>', 'only those that failed for the same reason, as `dead list` shows it')

export const deadCommands = (act: Act): Command => {
  const dead = new Command('dead').description('events that a handler could not handle, and what waits behind them')
  filtered(dead.command('list').description('by what failed for the same reason; never payloads'))
    .addOption(new Option('--status <status>').choices(['dead', 'retrying', 'all']).default('dead'))
    .option('--plain', 'one table, newest first, without groups')
    .option('--limit <number>', 'at most so many', '50')
    .action(act(list))
  filtered(
    dead
      .command('show')
      .description('one in full: its error, its payload, what waits behind it, what a retry will do')
      .argument('[id]', "the event's id; or name it by --consumer and --key"),
  ).action(act(show))
  filtered(
    dead
      .command('retry')
      .description('handle them again, in the order of their keys')
      .argument('[id]', 'one event; without it, all that match'),
  )
    .option('--all', 'every dead letter of the app')
    .option('--wait [time]', 'tell what became of one (default: 30s)')
    .option('--expect <number>', 'refuse when not so many keys match')
    .action(act(retryDead))
  filtered(
    dead
      .command('edit')
      .description('handle a corrected copy in its place, for this consumer only')
      .argument('[id]', 'the event'),
  )
    .requiredOption('--data <json>', "the new payload: JSON, '@file', or '-' for stdin")
    .option('--wait [time]', 'tell what became of it (default: 30s)')
    .action(act(editDead))
  filtered(
    dead
      .command('skip')
      .description('leave them out for good, with --reason; their keys go on')
      .argument('[id]', 'one event; without it, all that match'),
  )
    .option('--all', 'every dead letter of the app')
    .option('--expect <number>', 'refuse when not so many keys match')
    .action(act(skipDead))
  return dead
}

interface ListOptions extends DeadOptions {
  readonly status: 'dead' | 'retrying' | 'all'
  readonly plain?: boolean
  readonly limit: string
}

const list = async (invocation: Invocation, options: ListOptions): Promise<void> => {
  const { output } = invocation
  const limit = integer(options.limit, '--limit', 1, 100_000)
  const operated = await invocation.operated()
  const filter = { ...filterOf(options), status: options.status }
  const total = await countDead(operated, filter)
  const groups = await groupDead(operated, filter)
  const deadLetters = await listDead(operated, filter, limit)
  const nowMs = operated.environment.now()
  output.answer({
    json: { ...total, groups, deadLetters },
    rows: deadLetters,
    text:
      total.keys === 0
        ? [output.paint.good('nothing is dead')]
        : [
            ...(options.plain === true ? [] : deadGroupLines(output, total, groups, nowMs)),
            ...deadTable(output, deadLetters, nowMs),
            ...(deadLetters.length < total.keys
              ? [output.paint.dim(`… and ${total.keys - deadLetters.length} more: --limit ${total.keys}`)]
              : []),
            plain(''),
            output.next(
              `pabal dead show ${deadLetters[0]!.id} --consumer ${deadLetters[0]!.context}/${deadLetters[0]!.consumer}`,
            ),
          ],
  })
}

const show = async (invocation: Invocation, id: string | undefined, options: DeadOptions): Promise<void> => {
  const { output } = invocation
  const operated = await invocation.operated()
  const found = await showDead(await findDead(operated, id, filterOf(options)))
  output.answer({ json: found, text: deadDetailLines(output, found, operated.environment.now()) })
}
