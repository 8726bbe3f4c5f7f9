/** Exactly settled: every cursor has passed every event there is, and no key is waiting for a retry. */

import type { Environment } from '../core/environment.ts'
import { PabalError } from '../core/errors.ts'
import type { Subscription } from '../subscription/subscription.ts'
import type { OpenedApp } from './opened.ts'

/** How often to look when another process has the lanes and nothing here rings. */
const lookAgainMs = 250

export const settle = async (app: OpenedApp, environment: Environment, withinMs: number | undefined): Promise<void> => {
  const startMs = environment.now()
  for (;;) {
    // Listen before looking: what moves meanwhile rings.
    const awake = new AbortController()
    const silence = app.progress.onRing(() => awake.abort('rung'))
    try {
      const behind = await firstBehind(app)
      if (behind === undefined) return
      const leftMs = withinMs === undefined ? Number.MAX_SAFE_INTEGER : withinMs - (environment.now() - startMs)
      if (leftMs <= 0) throw new PabalError('PABAL_SETTLE_TIMEOUT', `after ${withinMs} ms ${behind}`)
      await environment.sleep(Math.min(lookAgainMs, leftMs), awake.signal)
    } finally {
      silence()
    }
  }
}

/** What is not settled, in words; undefined when everything is, and nothing was appended while we looked. */
const firstBehind = async (app: OpenedApp): Promise<string | undefined> => {
  const before = await heads(app)
  for (const subscription of app.subscriptions) {
    const behind = await subscription.behind()
    if (behind !== undefined) return describe(subscription, behind)
  }
  for (const runtime of app.runtimes.values()) await runtime.drain()
  return before === (await heads(app)) ? undefined : 'events were still being appended'
}

const describe = (subscription: Subscription, behind: string): string =>
  `'${subscription.name}' of '${subscription.context}' has ${behind}`

const heads = async (app: OpenedApp): Promise<string> => {
  const positions: string[] = []
  for (const database of app.databases) await database.sequence()
  for (const { database, store } of app.logs.values())
    positions.push(String((await database.read((session) => store.log.head(session))).position))
  return positions.join()
}
