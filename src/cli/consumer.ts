/** `pabal consumer`: who handles what, and what a person may do about it. */

import { Command } from 'commander'
import { PabalError } from '../core/errors.ts'
import { type ConsumerPlan, pause, planConsumer, remove, rename, resume } from '../operate/consumers.ts'
import { type ConsumerAddress, consumerNamed, contextsNamed } from '../operate/operated.ts'
import { consumerStatuses } from '../operate/consumer-status.ts'
import { planReset, type ResetPlan, type ResetTarget, reset } from '../operate/reset.ts'
import { type Invocation, integer } from './invocation.ts'
import type { Output } from './output/output.ts'
import { indented } from './output/table.ts'
import { line, type Painted, plain } from './output/text.ts'
import { argument, count, number } from './output/words.ts'
import type { Act } from './program.ts'
import { consumerTable } from './status.ts'

const named = (command: Command): Command => command.argument('<consumer>', 'its name, or context/name')

export const consumerCommands = (act: Act): Command => {
  const consumer = new Command('consumer').description('who handles what')
  consumer
    .command('list')
    .description('every consumer: state, lag, parked keys')
    .option('--context <name>', 'only those of this context')
    .action(act(list))
  named(consumer.command('pause').description('stop a consumer at once, in every process')).action(act(pauseConsumer))
  named(consumer.command('resume').description('let a paused consumer go on')).action(act(resumeConsumer))
  named(consumer.command('rename').description('move the cursor of a renamed handler to its new name'))
    .argument('<new-name>')
    .action(act(renameConsumer))
  named(consumer.command('reset').description('handle events again, or leave them out: puts the cursor elsewhere'))
    .requiredOption('--to <place>', "'beginning', 'now', or a position: events after it are handled")
    .option('--source <context>', 'only its cursor over the log of this context')
    .option('--expect <number>', 'refuse when not so many events would be handled again')
    .action(act(resetConsumer))
  named(consumer.command('remove').description('forget a consumer that has no handler any more')).action(
    act(removeConsumer),
  )
  return consumer
}

const list = async (invocation: Invocation, { context }: { context?: string }): Promise<void> => {
  const { output } = invocation
  const operated = await invocation.operated()
  const consumers = []
  for (const each of contextsNamed(operated, context))
    for (const status of await consumerStatuses(operated, each)) consumers.push(status)
  const lines = [...Map.groupBy(consumers, (each) => each.context)].flatMap(([name, own]) => [
    output.paint.bold(name),
    ...indented(consumerTable(output, own)),
    ...own.filter(({ reason }) => reason !== null).map((each) => line`  ${each.consumer}: ${each.reason!}`),
  ])
  output.answer({
    json: { consumers },
    rows: consumers,
    text: lines.length === 0 ? [output.paint.dim('no consumers')] : lines,
  })
}

const addressed = async (invocation: Invocation, name: string) => {
  const operated = await invocation.operated()
  const address = await consumerNamed(operated, name)
  return { operated, address, shown: nameOf(address) }
}

const nameOf = ({ context, consumer }: ConsumerAddress): string => `${context.context}/${consumer}`

/** What was done, in every format. */
const done = (
  { output }: Invocation,
  action: string,
  consumer: string,
  changed: boolean,
  text: readonly Painted[],
): void => output.answer({ json: { action, consumer, changed }, text })

const pauseConsumer = async (invocation: Invocation, name: string): Promise<void> => {
  const { operated, address, shown } = await addressed(invocation, name)
  const { output } = invocation
  const changed = await pause(operated, address, invocation.operator)
  done(invocation, 'pause', shown, changed, [
    changed ? line`${output.paint.careful('paused')} ${shown}; its events wait` : line`${shown} was paused already`,
    output.next(`pabal consumer resume ${shown}`),
  ])
}

const resumeConsumer = async (invocation: Invocation, name: string): Promise<void> => {
  const { operated, address, shown } = await addressed(invocation, name)
  const { output } = invocation
  const changed = await resume(operated, address, invocation.operator)
  done(invocation, 'resume', shown, changed, [
    changed
      ? line`${output.paint.good('resumed')} ${shown}; the running app goes on by itself`
      : line`${shown} was not paused`,
    output.next('pabal status'),
  ])
}

const renameConsumer = async (invocation: Invocation, name: string, to: string): Promise<void> => {
  const { operated, address, shown } = await addressed(invocation, name)
  const { output } = invocation
  const plan = await planConsumer(address)
  invocation.confirm({
    json: { ...plan, to },
    text: [
      line`would rename ${output.paint.bold(shown)} to ${output.paint.bold(to)}: ${carried(plan)}`,
      ...renameWarnings(output, plan),
    ],
    command: `pabal consumer rename ${shown} ${argument(to)} --yes`,
  })
  await rename(operated, address, to, invocation.operator)
  done(invocation, 'rename', `${plan.context}/${to}`, true, [line`renamed ${shown} to ${to}`])
}

const carried = ({ cursors, parkedKeys, waiting, skipped }: ConsumerPlan): string =>
  `${count(cursors, 'cursor')}, ${count(parkedKeys, 'parked key')} with ${count(waiting, 'event')} behind, ${count(skipped, 'skipped event')}`

const renameWarnings = ({ paint }: Output, { handler, effects, consumer }: ConsumerPlan): Painted[] => [
  ...(handler
    ? [
        line`  ${paint.careful('!')} this app still has a handler '${consumer}': deploy the new name before anything starts, or the old one begins anew`,
      ]
    : []),
  ...(effects === 'external'
    ? [
        line`  ${paint.careful('!')} idempotency keys carry its name: what is just being tried may run again under a new key`,
      ]
    : []),
]

const removeConsumer = async (invocation: Invocation, name: string): Promise<void> => {
  const { operated, address, shown } = await addressed(invocation, name)
  const { output } = invocation
  const plan = await planConsumer(address)
  if (plan.handler)
    throw new PabalError('PABAL_USAGE', `'${shown}' has a handler in this app; only a consumer without one is removed`)
  invocation.confirm({
    json: plan,
    text: [line`would forget ${output.paint.bold(shown)} for good: ${carried(plan)}`],
    command: `pabal consumer remove ${shown} --yes`,
  })
  await remove(operated, address, invocation.operator)
  done(invocation, 'remove', shown, true, [line`removed ${shown}`])
}

interface ResetOptions {
  readonly to: string
  readonly source?: string
  readonly expect?: string
}

const targetOf = (to: string): ResetTarget => {
  if (to === 'beginning' || to === 'now') return to
  return { position: integer(to, "--to must be 'beginning', 'now' or a position, which", 0) }
}

const resetConsumer = async (
  invocation: Invocation,
  name: string,
  { to, source, expect }: ResetOptions,
): Promise<void> => {
  const target = targetOf(to)
  const expected = expect === undefined ? undefined : integer(expect, '--expect', 0)
  const { operated, address, shown } = await addressed(invocation, name)
  const { output } = invocation
  const plan = await planReset(address, target, source)
  const chosen = source === undefined ? '' : ` --source ${argument(source)}`
  invocation.confirm({
    json: plan,
    text: resetLines(output, shown, plan),
    command: `pabal consumer reset ${shown} --to ${argument(to)}${chosen} --expect ${plan.again} --yes`,
  })
  await reset(operated, address, plan, invocation.operator, expected)
  output.answer({
    json: { action: 'reset', consumer: shown, changed: true, again: plan.again, leftOut: plan.leftOut },
    text: [
      line`reset ${shown}: ${count(plan.again, 'event')} will be handled again, ${number(plan.leftOut)} were left out`,
      ...(plan.state === 'paused' ? [output.next(`pabal consumer resume ${shown}`)] : []),
    ],
  })
}

const resetLines = (
  { paint }: Output,
  shown: string,
  { again, leftOut, sources, state, effects }: ResetPlan,
): Painted[] => [
  line`would reset ${paint.bold(shown)} (effects: ${effects})`,
  line`  ${paint.bold(count(again, 'event'))} would be handled again`,
  ...(leftOut === 0 ? [] : [line`  ${paint.bad(count(leftOut, 'event'))} would never be handled`]),
  ...sources.flatMap(({ source, from, to, parkedKeys, oldest }) => [
    line`  over the log of ${source}: from position ${from.map(number).join(', ')} to ${number(to)}`,
    ...(parkedKeys === 0 ? [] : [line`  ${count(parkedKeys, 'parked key')} of it would be forgotten`]),
    ...(to + 1 < oldest
      ? [line`  ${paint.careful('!')} retention has dropped what is before position ${number(oldest)}`]
      : []),
  ]),
  ...(state === 'active' && again > 0
    ? [line`  ${paint.careful('!')} it is active: pause it first, so that the count stands still while the app runs`]
    : []),
  plain(''),
]
