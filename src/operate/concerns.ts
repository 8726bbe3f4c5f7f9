/** What about a consumer needs a person, and the command that looks at it. Pure. */

import type { Limits } from '../core/limits.ts'
import type { Finding } from '../store/store.ts'
import type { ConsumerStatus } from './consumer-status.ts'

export interface Concern extends Finding {
  readonly context: string
  readonly consumer: string
  /** What to type next. */
  readonly command?: string
}

/** Waiting for longer than this with nobody working on it is not a start-up any more. */
const stalledMs = 60_000

const many = (count: number, what: string): string => `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`

type Judge = (
  status: ConsumerStatus,
  limits: Limits,
  nowMs: number,
) => Omit<Concern, 'context' | 'consumer'> | undefined

const problem = (title: string, detail: string, command?: string, remedy?: string): ReturnType<Judge> => ({
  level: 'problem',
  title,
  detail,
  ...(command === undefined ? {} : { command }),
  ...(remedy === undefined ? {} : { remedy }),
})
const warning = (...args: Parameters<typeof problem>): ReturnType<Judge> => ({ ...problem(...args)!, level: 'warning' })

const addressOf = ({ context, consumer }: ConsumerStatus): string => `${context}/${consumer}`

const producerOf = ({ source }: ConsumerStatus): string => source.slice(source.indexOf('/') + 1)

const behind = ({ waiting }: ConsumerStatus): string =>
  waiting === 0 ? '' : `, ${many(waiting, 'event')} ${waiting === 1 ? 'waits' : 'wait'} behind`

/** In the order in which a person should look at them. */
const judges: readonly Judge[] = [
  (status) => {
    if (!status.rewound) return undefined
    const detail = `the log of '${status.source}' does not hold what was handled at the cursor: it was restored or replaced`
    return status.source === status.context
      ? problem('log rewound', detail, `pabal consumer reset ${addressOf(status)} --to now`)
      : warning('log rewound', `${detail}; every key is compared when the app runs`)
  },
  (status) =>
    status.state === 'held'
      ? problem(
          'held',
          `everything fails, so nothing is parked: ${status.reason ?? 'no error was recorded'}`,
          `pabal log list --context ${status.source} --after ${Math.min(...status.lanes.map(({ position }) => position))} --limit 1`,
          'correct what all events need (a service, a table, a setting); the running app tries again by itself',
        )
      : undefined,
  (status) =>
    status.deadKeys > 0
      ? problem(
          'dead letters',
          `${many(status.deadKeys, 'key')} ${status.deadKeys === 1 ? 'is' : 'are'} dead${behind(status)}: ${status.lastError ?? ''}`,
          `pabal dead list --consumer ${addressOf(status)}`,
        )
      : undefined,
  (status) => {
    const found = status.early.find(({ reason }) => reason === 'diverged')
    if (found === undefined) return undefined
    const detail = `${many(found.events, 'event')} of ${many(found.keys, 'key')} from '${producerOf(status)}' ${found.events === 1 ? 'is' : 'are'} of another history than what was received: its log was restored`
    return problem(
      'another history',
      detail,
      undefined,
      'compare the keys with the log of the producer; all others go on',
    )
  },
  (status) => {
    const found = status.early.find(({ reason }) => reason === 'gap')
    if (found === undefined) return undefined
    const detail = `${many(found.events, 'event')} of ${many(found.keys, 'key')} from '${producerOf(status)}' ${found.events === 1 ? 'waits' : 'wait'} for what has not come`
    const remedy = "name the producer's database in `origins`, or let its relay publish again"
    return warning('not received', detail, undefined, remedy)
  },
  (status, limits) =>
    status.waiting > limits.parkedPerConsumer || status.mostWaiting > limits.parkedPerKey
      ? problem(
          'too many wait',
          `${many(status.waiting, 'event')} wait behind parked keys (limit ${limits.parkedPerConsumer.toLocaleString('en')}), ` +
            `${status.mostWaiting.toLocaleString('en')} behind one (limit ${limits.parkedPerKey.toLocaleString('en')})`,
          `pabal dead list --consumer ${addressOf(status)} --status all`,
        )
      : undefined,
  (status) => {
    if (status.state !== 'paused') return undefined
    const left = status.lagEvents ?? 0
    const detail = `${status.reason ?? 'without a reason'}${left === 0 ? '' : `; ${many(left, 'event')} not handled`}`
    return (left === 0 ? warning : problem)('paused', detail, `pabal consumer resume ${addressOf(status)}`)
  },
  (status) =>
    (status.late ?? 0) > 0
      ? problem(
          'late',
          `${many(status.late!, 'event')} not handled within ${status.withinMs} ms`,
          `pabal trace ${status.oldest?.id ?? ''}`.trim(),
        )
      : undefined,
  (status) =>
    status.state === 'active' &&
    status.handler &&
    (status.lagEvents ?? 0) > 0 &&
    (status.lagMs ?? 0) > stalledMs &&
    !status.lanes.some(({ leased }) => leased)
      ? problem(
          'not moving',
          `${many(status.lagEvents!, 'event')} to handle, and no process works on it`,
          undefined,
          'start the app',
        )
      : undefined,
  ({ processes: { newest, older } }) =>
    older > 0
      ? warning(
          'two versions',
          `${older} process${older === 1 ? ' runs' : 'es run'} an older version of it, and the work is left to ${newest} of the newest`,
          undefined,
          'nothing while a deployment goes on; end what is left of the older one',
        )
      : undefined,
  (status) =>
    status.handler || status.state === 'new'
      ? undefined
      : warning(
          'no handler',
          'it has a cursor, and no handler in this app: renamed, removed, or forgotten in `handlers`?',
          `pabal consumer rename ${addressOf(status)} <new name>   or   pabal consumer remove ${addressOf(status)}`,
        ),
  (status) =>
    status.handler && status.state === 'new'
      ? warning('never started', 'it has a handler and no cursor yet', undefined, 'start the app')
      : undefined,
]

export const concernsOf = (consumers: readonly ConsumerStatus[], limits: Limits, nowMs: number): readonly Concern[] =>
  judges
    .flatMap((judge) =>
      consumers.flatMap((status): Concern[] => {
        const found = judge(status, limits, nowMs)
        return found === undefined ? [] : [{ context: status.context, consumer: status.consumer, ...found }]
      }),
    )
    .toSorted((one, other) => Number(other.level === 'problem') - Number(one.level === 'problem'))
