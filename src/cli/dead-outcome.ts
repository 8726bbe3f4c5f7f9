/** What became of a retry: told at once, or after waiting for it. */

import type { FoundDeadLetter } from '../operate/dead-letters.ts'
import type { Operated } from '../operate/operated.ts'
import { awaitOutcome, type Outcome } from '../operate/outcome.ts'
import { addressOf } from './dead-selection.ts'
import { type Invocation, milliseconds } from './invocation.ts'
import type { Output } from './output/output.ts'
import { line, type Painted } from './output/text.ts'
import { argument } from './output/words.ts'

export interface WaitOptions {
  readonly wait?: string | true
}

const waitDefaultMs = 30_000

export const waitOf = ({ wait }: WaitOptions): number | undefined => {
  if (wait === undefined) return undefined
  return wait === true ? waitDefaultMs : milliseconds(wait, '--wait')
}

export interface Done {
  readonly action: 'retry' | 'edit'
  readonly sinceMs: number
  readonly waitMs: number | undefined
  readonly copy?: string
  /** The copy's payload. */
  readonly data?: unknown
}

/** What was done, and with `--wait` what became of it: exit code 1 when it failed again, or nobody has tried it. */
export const tell = async (
  invocation: Invocation,
  operated: Operated,
  found: FoundDeadLetter,
  { action, sinceMs, waitMs, copy, data }: Done,
): Promise<number | void> => {
  const { output } = invocation
  const { row } = found
  const what = {
    action,
    event: row.event_id,
    consumer: addressOf(found),
    key: row.key,
    ...(copy === undefined ? {} : { copy }),
  }
  if (waitMs === undefined) {
    output.answer({
      json: { ...what, outcome: null },
      text: [
        line`${output.paint.good('queued')} key ${row.key} of ${addressOf(found)}; the running app takes it up by itself (--wait tells what became of it)`,
      ],
    })
    return
  }
  const outcome = await awaitOutcome(operated, found, sinceMs, waitMs, data)
  output.answer({
    json: { ...what, outcome: outcome.state },
    text: outcomeLines(output, found, outcome, operated.environment.now()),
  })
  return outcome.state === 'failed' || outcome.state === 'untried' ? 1 : 0
}

const outcomeLines = (output: Output, found: FoundDeadLetter, outcome: Outcome, nowMs: number): Painted[] => {
  const { paint } = output
  const { row } = found
  switch (outcome.state) {
    case 'handled':
      return [line`${paint.good('✓ handled')} ${row.type} ${row.event_id}; key ${row.key} goes on`]
    case 'filtered':
      return [
        line`${paint.careful('∅ filtered')} ${row.type} ${row.event_id}: the handler's filter does not want it; key ${row.key} goes on`,
      ]
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
      return [
        line`${paint.careful('nobody has tried it yet')}: is the app running, and the consumer not paused?`,
        output.next('pabal status'),
      ]
  }
}
