/** Waits for handlers that run in other processes, where `app.settle` would run them in this one. */

import { setTimeout as delay } from 'node:timers/promises'
import type { App } from 'pabal'
import { type ConsumerStatus, countUserEvents, type Operated, operate, statusOf } from 'pabal/operate'

const lookAgainMs = 200

/** Resolves when every consumer has handled everything, and nothing has been added while they were asked one by one. */
export async function settledElsewhere(app: App, signal: AbortSignal): Promise<void> {
  const operated = await operate(app)
  for (let events = await count(operated); ; ) {
    await delay(lookAgainMs, undefined, { signal })
    const before = events
    events = await count(operated)
    // To ask every consumer is work, of which the workers have enough as long as events come.
    if (events !== before) continue
    const { contexts } = await statusOf(operated)
    const isSettled = contexts.every(({ consumers }) => consumers.every(hasNothingToDo))
    if (isSettled && events === (await count(operated))) return
  }
}

/** With those that were committed a moment ago. */
async function count(operated: Operated): Promise<number> {
  for (const database of new Set(operated.contexts.map((context) => context.database))) await database.sequence()
  return countUserEvents(operated)
}

/** A dead key waits for a person, and so does a paused consumer. */
const hasNothingToDo = ({ state, lagEvents, retryingKeys }: ConsumerStatus): boolean =>
  state === 'paused' || (state !== 'new' && lagEvents === 0 && retryingKeys === 0)
