/** Waits for handlers that run in other processes, where `app.settle` would run them in this one. */

import { setTimeout as delay } from 'node:timers/promises'
import type { App } from 'pabal'
import { type ConsumerStatus, countUserEvents, type Operated, operate, statusOf } from 'pabal/operate'

const lookAgainMs = 200

/** Resolves when every consumer has handled everything, and nothing has been added while they were asked one by one. */
export async function settledElsewhere(apps: readonly App[], signal: AbortSignal): Promise<void> {
  const operated = await Promise.all(apps.map((app) => operate(app)))
  for (let events = await count(operated); ; ) {
    await delay(lookAgainMs, undefined, { signal })
    const before = events
    events = await count(operated)
    // To ask every consumer is work, of which the workers have enough as long as events come.
    if (events !== before) continue
    const statuses = await Promise.all(operated.map((each) => statusOf(each)))
    const consumers = statuses.flatMap(({ contexts }) => contexts.flatMap((context) => context.consumers))
    const isSettled = consumers.every(hasNothingToDo)
    if (isSettled && events === (await count(operated))) return
  }
}

/** With those that were committed a moment ago. */
async function count(operated: readonly Operated[]): Promise<number> {
  const databases = operated.flatMap(({ contexts }) => contexts.map(({ database }) => database))
  for (const database of new Set(databases)) await database.sequence()
  let events = 0
  for (const each of operated) events += await countUserEvents(each)
  return events
}

/** A dead key waits for a person, and so does a paused consumer. */
const hasNothingToDo = ({ state, lagEvents, retryingKeys }: ConsumerStatus): boolean =>
  state === 'paused' || (state !== 'new' && lagEvents === 0 && retryingKeys === 0)
