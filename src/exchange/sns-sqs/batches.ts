/**
 * Which messages go in which request: no group is in two requests at a time (R1), and behind one of a group that failed nothing
 * of it goes, nor counts as gone where it has (R2).
 */

import type { Published } from '../transport.ts'
import { perRequest } from './driver.ts'
import { bytesMax } from './message.ts'

export interface Waiting<Entry> {
  /** Of its outcome. */
  readonly index: number
  /** What order is kept for. */
  readonly group: string
  readonly bytes: number
  readonly entry: Entry
}

/** What became of the entries of one request, in their order; undefined: confirmed. */
export type Send<Entry> = (entries: readonly Entry[]) => Promise<readonly Published[]>

export interface SendOptions {
  /** Requests under way at a time. */
  readonly inFlight: number
  /** Whether every other request would end like that: then no more are sent. */
  readonly isForAll: (error: unknown) => boolean
  /** Whether the request was refused as a whole: then each message goes alone, so that the one that is wrong fails alone. */
  readonly isForOne: (error: unknown) => boolean
}

/** Writes the outcome of each into `outcomes`. */
export const sendInBatches = async <Entry>(
  messages: readonly Waiting<Entry>[],
  outcomes: Published[],
  send: Send<Entry>,
  { inFlight, isForAll, isForOne }: SendOptions,
): Promise<void> => {
  const groups = new Map<string, Waiting<Entry>[]>()
  for (const message of messages) {
    const group = groups.get(message.group)
    if (group === undefined) groups.set(message.group, [message])
    else group.push(message)
  }
  const busy = new Set<string>()
  let stopped: { readonly error: unknown } | undefined

  const next = (): Waiting<Entry>[] => {
    const batch: Waiting<Entry>[] = []
    if (stopped !== undefined) return batch
    let bytes = 0
    for (const [name, group] of groups) {
      if (busy.has(name)) continue
      let taken = 0
      for (const message of group) {
        if (batch.length === perRequest || bytes + message.bytes > bytesMax) break
        batch.push(message)
        bytes += message.bytes
        taken++
      }
      group.splice(0, taken)
      if (batch.length === perRequest) break
    }
    for (const { group } of batch) busy.add(group)
    return batch
  }

  const fail = (group: string, error: unknown): void => {
    for (const { index } of groups.get(group) ?? []) outcomes[index] = { error }
    groups.delete(group)
  }
  const settle = (batch: readonly Waiting<Entry>[], answers: readonly Published[]): void => {
    const failed = new Map<string, Published>()
    for (const [at, { index, group }] of batch.entries()) {
      const answer = failed.get(group) ?? answers[at]
      outcomes[index] = answer
      if (answer !== undefined) failed.set(group, answer)
    }
    for (const group of new Set(batch.map((message) => message.group))) {
      busy.delete(group)
      const answer = failed.get(group)
      if (answer !== undefined) fail(group, answer.error)
      else if (groups.get(group)?.length === 0) groups.delete(group)
    }
  }
  const attempt = async (batch: readonly Waiting<Entry>[]): Promise<void> => {
    try {
      settle(batch, await send(batch.map(({ entry }) => entry)))
    } catch (error) {
      if (batch.length > 1 && isForOne(error)) {
        settle(batch, await oneByOne(batch, send))
        return
      }
      settle(
        batch,
        batch.map(() => ({ error })),
      )
      if (isForAll(error)) stopped = { error }
    }
  }
  const worker = async (): Promise<void> => {
    for (let batch = next(); batch.length > 0; batch = next()) await attempt(batch)
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  if (stopped !== undefined) for (const group of groups.keys()) fail(group, stopped.error)
}

const oneByOne = async <Entry>(batch: readonly Waiting<Entry>[], send: Send<Entry>): Promise<Published[]> => {
  const answers: Published[] = []
  const failed = new Map<string, Published>()
  for (const { entry, group } of batch) {
    const answer =
      failed.get(group) ??
      (await send([entry]).then(
        ([only]) => only,
        (error: unknown) => ({ error }),
      ))
    answers.push(answer)
    if (answer !== undefined) failed.set(group, answer)
  }
  return answers
}
