/** `pabal trace`: a tree from cause to effects, over all contexts, with who has handled what. */

import { Command } from 'commander'
import { type Trace, type TracedEvent, traceOf } from '../operate/trace.ts'
import { deliveryLine } from './delivery.ts'
import type { Invocation } from './invocation.ts'
import { eventName } from './log.ts'
import type { Output } from './output/output.ts'
import { line, type Painted } from './output/text.ts'
import { lengthOf } from './output/time.ts'
import { count } from './output/words.ts'
import type { Act } from './program.ts'

export const traceCommand = (act: Act): Command =>
  new Command('trace')
    .description('from cause to effects over all contexts: the tree that an event belongs to')
    .argument('<id>', "an event's id, or a correlation id")
    .option('--whole', 'every tree of the correlation, not only that of the event')
    .action(act(trace))

const trace = async (invocation: Invocation, id: string, { whole = false }: { whole?: boolean }): Promise<void> => {
  const { output } = invocation
  const operated = await invocation.operated()
  const found = await traceOf(operated, id.toLowerCase(), { whole })
  const rows = found.roots.flatMap(({ events }) => flat(events))
  output.answer({ json: found, rows, text: treeLines(output, found, id, operated.environment.now()) })
}

/** One event per line, without those that it has caused. */
const flat = (events: readonly TracedEvent[]): unknown[] =>
  events.flatMap(({ effects, ...event }) => [event, ...flat(effects)])

const treeLines = (output: Output, found: Trace, asked: string, nowMs: number): Painted[] => {
  const { paint } = output
  const shown = found.roots.flatMap(({ events }) => events.flatMap(all))
  const contexts = new Set(shown.map(({ context }) => context))
  const ends = shown.map(({ offsetMs }) => offsetMs)
  const length = lengthOf(Math.max(...ends) - Math.min(...ends))
  const began = output.time(found.startedAt + Math.min(...ends), nowMs)
  const others = count(found.otherRoots, 'other tree')
  return [
    line`${paint.bold(found.correlationId)}  ${count(shown.length, 'event')} in ${count(contexts.size, 'context')} over ${length}, began ${began}`,
    ...(found.truncated ? [paint.careful('so much belongs to it that not all was looked at')] : []),
    ...found.roots.flatMap(({ command, events }) => [
      ...(command === null ? [] : [line`${paint.dim('command or outside request')} ${command}`]),
      ...branches(output, events, '', asked, nowMs),
    ]),
    ...(found.otherRoots === 0
      ? []
      : [line`${others} of the same correlation: ${output.command(`pabal trace ${asked} --whole`)}`]),
  ]
}

const all = (event: TracedEvent): TracedEvent[] => [event, ...event.effects.flatMap(all)]

const branches = (
  output: Output,
  events: readonly TracedEvent[],
  margin: string,
  asked: string,
  nowMs: number,
): Painted[] =>
  events.flatMap((event, index) => {
    const last = index === events.length - 1
    const under = `${margin}${last ? '   ' : '│  '}`
    const { paint } = output
    const name = event.id === asked ? paint.bold(eventName(output, event)) : eventName(output, event)
    const place = line`${event.context} ${event.key}${paint.dim(`#${event.sequence}`)} ${paint.dim(`+${lengthOf(event.offsetMs)}`)}`
    const rail = event.effects.length > 0 ? '│  ' : '   '
    return [
      line`${paint.dim(margin + (last ? '└─ ' : '├─ '))}${name}  ${place}`,
      ...event.deliveries.flatMap((delivery) => [
        line`${paint.dim(under + rail)}${deliveryLine(output, delivery, nowMs)}`,
        ...(delivery.state === 'dead'
          ? [
              line`${paint.dim(under + rail)}  ${output.next(`pabal dead show ${event.id} --consumer ${delivery.context}/${delivery.consumer}`)}`,
            ]
          : []),
      ]),
      ...branches(output, event.effects, under, asked, nowMs),
    ]
  })
