/** How a consumer stands to one event, in a few words. */

import type { Delivery } from '../operate/deliveries.ts'
import type { Output } from './output/output.ts'
import { line, type Painted, plain } from './output/text.ts'

export const deliveryLine = (output: Output, delivery: Delivery, nowMs: number): Painted => {
  const { paint } = output
  const name = `${delivery.context}/${delivery.consumer}`
  const title = delivery.title === null ? plain('') : line` ${paint.dim(delivery.title)}`
  const { attempts = 0, nextAttemptAt, error = '' } = delivery
  switch (delivery.state) {
    case 'handled':
      return line`${paint.good('✓')} ${name}${title}`
    case 'filtered':
      return line`${paint.dim('∅')} ${name}${title} filtered: not wanted by its filter`
    case 'skipped':
      return line`${paint.careful('↷')} ${name}${title} skipped by ${delivery.skippedBy ?? '?'}: ${delivery.skippedReason ?? ''}`
    case 'retrying':
      return line`${paint.careful('↻')} ${name}${title} failed ${attempts}×, again ${output.time(nextAttemptAt ?? nowMs, nowMs)}: ${error}`
    case 'dead':
      return line`${paint.bad('✗')} ${name}${title} dead after ${attempts}×: ${error}`
    case 'waiting':
      return line`${paint.careful('…')} ${name}${title} waits behind an earlier event of its key`
    case 'pending':
      return line`${paint.dim('○')} ${name}${title} not yet${delivery.stopped === undefined ? '' : `, ${delivery.stopped}`}`
    case 'unwanted':
      return line`${paint.dim('–')} ${name}${title} began after it`
    default:
      return line`${paint.dim('–')} ${name}${title} was never started`
  }
}
