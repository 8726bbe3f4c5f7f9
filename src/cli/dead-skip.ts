/** `pabal dead skip`: events are left out for good, with a reason. */

import { deadLetterOf, findDead } from '../operate/dead-letters.ts'
import { planDead } from '../operate/retry.ts'
import { skipAll, skipOne } from '../operate/skip.ts'
import {
  addressOf,
  type BulkOptions,
  checkFiltered,
  expectedOf,
  filterOf,
  nothingMatches,
  planLines,
  typed,
} from './dead-selection.ts'
import type { Invocation } from './invocation.ts'
import { line } from './output/text.ts'
import { argument, count, number } from './output/words.ts'

export const skipDead = async (invocation: Invocation, id: string | undefined, options: BulkOptions): Promise<void> => {
  const { output, reasoned } = invocation
  const expected = expectedOf(options)
  const operated = await invocation.operated()
  const nowMs = operated.environment.now()
  const reason = `--reason ${argument(reasoned.reason)}`
  if (id !== undefined) {
    const found = await findDead(operated, id, filterOf(options))
    const letter = deadLetterOf(found.context, found.row)
    invocation.confirm({
      json: { keys: 1, waiting: letter.waiting, sample: [letter] },
      text: [
        line`would leave out ${output.paint.bold(letter.type)} ${letter.id} for ${addressOf(found)}, for good; ${count(letter.waiting, 'event')} behind it will go on`,
      ],
      command: `pabal dead skip ${id} --consumer ${argument(addressOf(found))} ${reason} --yes`,
    })
    await skipOne(operated, found, reasoned)
    output.answer({
      json: { action: 'skip', skipped: 1, changed: 0 },
      text: [line`${output.paint.careful('skipped')} ${letter.id} for ${addressOf(found)}; key ${letter.key} goes on`],
    })
    return
  }
  checkFiltered(options)
  const plan = await planDead(operated, filterOf(options))
  if (nothingMatches(invocation, plan, expected)) return
  invocation.confirm({
    json: plan,
    text: planLines(output, 'leave out, for good,', plan, nowMs),
    command: `pabal dead skip ${typed(options)} ${reason} --expect ${plan.keys} --yes`,
  })
  const { skipped, changed } = await skipAll(operated, filterOf(options), reasoned, expected)
  output.answer({
    json: { action: 'skip', skipped, changed },
    text: [
      line`${output.paint.careful('skipped')} ${count(skipped, 'dead letter')}; their keys go on`,
      ...(changed === 0 ? [] : [line`${number(changed)} had changed meanwhile and were left alone`]),
    ],
  })
}
