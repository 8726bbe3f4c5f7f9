/** `pabal topology`: what the app needs on its broker. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { Command } from 'commander'
import { PabalError } from '../core/errors.ts'
import { messagesIn } from '../exchange/topology.ts'
import {
  type Action,
  applyTopology,
  destroyTopology,
  exportTopology,
  planDestruction,
  planTopology,
  type Removal,
  type Removed,
  type Topology,
} from '../operate/topology.ts'
import { type Invocation, integer } from './invocation.ts'
import { type Output, toJson } from './output/output.ts'
import { table } from './output/table.ts'
import { line, type Painted, plain } from './output/text.ts'
import { argument, count } from './output/words.ts'
import type { Act } from './program.ts'

export const topologyCommands = (act: Act): Command => {
  const topology = new Command('topology').description('what the app needs on its broker')
  topology
    .command('plan')
    .description('what is missing there, or otherwise; changes nothing')
    .option('--check', 'exit code 4 when it is not as it should be')
    .action(act(plan))
  topology.command('apply').description('make what is missing; takes nothing away').action(act(apply))
  topology
    .command('destroy')
    .description('remove what this app alone needs; the app must be stopped')
    .option('--expect <number>', 'refuse when more messages than that would be lost')
    .action(act(destroy))
  topology
    .command('export')
    .description('the same as JSON for Terraform (SNS and SQS); the broker is not asked')
    .option('--out <file>', 'a file such as pabal.tf.json, instead of stdout')
    .action(act(exportAll))
  return topology
}

const plan = async (invocation: Invocation, { check = false }: { check?: boolean }): Promise<void> => {
  const { output } = invocation
  const { paint } = output
  const topology = await planTopology(await invocation.app())
  const { transports, steps } = topology
  const toMake = steps.some(({ action }) => action === 'create' || action === 'change')
  output.answer({
    json: topology,
    rows: steps,
    text:
      steps.length === 0
        ? [
            line`${paint.good('✓')} ${transports.length === 0 ? 'nothing goes over a broker' : `nothing to do on ${transports.join(', ')}`}`,
          ]
        : [...stepLines(output, topology), plain(''), ...(toMake ? [output.next('pabal topology apply')] : [])],
  })
  if (check && steps.length > 0)
    throw new PabalError('PABAL_CHECK_FAILED', `the topology has ${count(steps.length, 'difference')}`)
}

const apply = async (invocation: Invocation): Promise<void> => {
  const { output } = invocation
  const topology = await applyTopology(await invocation.app())
  const { steps } = topology
  output.answer({
    json: { action: 'apply', ...topology },
    rows: steps,
    text: [
      ...(steps.length === 0 ? [] : [...stepLines(output, topology), plain('')]),
      line`${output.paint.good('✓')} ${steps.length === 0 ? 'nothing to do' : `done: ${count(steps.length, 'step')}`}`,
    ],
  })
}

const stepLines = ({ paint }: Output, { transports, steps }: Topology): Painted[] => {
  const painted: Readonly<Record<Action, Painted>> = {
    create: paint.good('create'),
    change: paint.careful('change'),
    drift: paint.careful('drift'),
    conflict: paint.bad('conflict'),
    missing: paint.bad('missing'),
  }
  return table(
    ['action', ...over(transports, 'over'), 'kind', 'name', 'detail'].map((head) => ({ head })),
    steps.map(({ action, transport, kind, name, details }) => [
      painted[action],
      ...over(transports, transport),
      kind,
      name,
      details.join('; '),
    ]),
    paint.dim,
  )
}

/** A column that says something only where there are several. */
const over = (transports: readonly string[], cell: string): readonly string[] => (transports.length > 1 ? [cell] : [])

const destroy = async (invocation: Invocation, { expect }: { readonly expect?: string }): Promise<void> => {
  const { output } = invocation
  const messagesMost = expect === undefined ? undefined : integer(expect, '--expect', 0)
  const app = await invocation.app()
  const found = await planDestruction(app)
  const { removals } = found
  if (removals.some(({ action }) => action === 'remove')) {
    invocation.confirm({
      json: { ...found, messages: messagesIn(removals) },
      text: [...removalLines(output, found), plain(''), lossLine(output, removals)],
      command: `pabal topology destroy --expect ${messagesIn(removals)} --yes`,
    })
    told(output, await destroyTopology(app, { messagesMost }))
  } else told(output, found)
}

const told = (output: Output, done: Removed): void => {
  const { removals } = done
  const removed = removals.filter(({ action }) => action === 'remove').length
  output.answer({
    json: { action: 'destroy', ...done },
    rows: removals,
    text: [
      ...removalLines(output, done),
      line`${output.paint.good('✓')} ${removed === 0 ? 'nothing to remove' : `removed: ${removed}`}`,
    ],
  })
}

const removalLines = ({ paint }: Output, { transports, removals }: Removed): Painted[] =>
  removals.length === 0
    ? []
    : table(
        ['action', ...over(transports, 'over'), 'kind', 'name', 'messages', 'detail'].map((head) => ({ head })),
        removals.map(({ action, transport, kind, name, messages, details }) => [
          action === 'remove' ? paint.bad(action) : paint.good(action),
          ...over(transports, transport),
          kind,
          name,
          action === 'remove' ? messages : '',
          details.join('; '),
        ]),
        paint.dim,
      )

const lossLine = ({ paint }: Output, removals: readonly Removal[]): Painted => {
  const messages = messagesIn(removals)
  return messages === 0
    ? line`no messages would be lost`
    : line`${paint.bad(count(messages, 'message'))} would be lost for good`
}

const exportAll = async (invocation: Invocation, { out }: { readonly out?: string }): Promise<void> => {
  const { output } = invocation
  const json = toJson(exportTopology(await invocation.app()), 2)
  if (out === undefined) return output.document(json, json.split('\n').map(plain))
  const text = `${json}\n`
  if (existsSync(out) && readFileSync(out, 'utf8') !== text)
    invocation.confirm({
      json: { file: out },
      text: [line`would replace ${out}`],
      command: `pabal topology export --out ${argument(out)} --yes`,
    })
  writeFileSync(out, text)
  output.answer({ json: { action: 'export', file: out }, text: [line`${output.paint.good('✓')} wrote ${out}`] })
}
