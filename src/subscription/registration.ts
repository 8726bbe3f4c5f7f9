/** The first start of a consumer, and what its producers are told of it. */

import { PabalError } from '../core/errors.ts'
import type { Place } from '../store/store.ts'
import { joinEdition } from './edition.ts'
import type { SubscriptionParts } from './lane.ts'
import type { Trunk } from './source.ts'

export interface Registered {
  readonly lanes: number
  /** The number of what this process wants, among what all versions of the handler have wanted. */
  readonly edition: number
  /** Another process runs a newer one. */
  readonly superseded: boolean
}

/** Registers the consumer and its cursors; at the first time it decides where they start. @throws PABAL_START_AT_REQUIRED */
export const register = async (parts: SubscriptionParts): Promise<Registered> => {
  const { spec, source, runtime } = parts
  const { database, contextStore } = runtime
  const known = await database.read((session) => contextStore.cursors.cursors(session, spec.name))
  const start = known.some((cursor) => cursor.source === source.name) ? undefined : await startOf(parts)
  return database.transaction(
    async (session) => {
      const { lanes } = await contextStore.cursors.register(session, {
        name: spec.name,
        effects: spec.effects,
        lanes: spec.lanes ?? database.defaultLanes,
        types: spec.definitions.map(({ type }) => type),
      })
      const of = { consumer: spec.name, source: source.name }
      const edition = await joinEdition(parts, session)
      const superseded = await contextStore.editions.isSuperseded(session, of, edition)
      if (start === undefined) return { lanes, edition, superseded }
      for (let lane = 0; lane < lanes; lane++) await contextStore.cursors.create(session, { ...of, lane }, start)
      const { producer, stream, branchOf } = source
      if (stream !== undefined && branchOf !== undefined) {
        const before = await contextStore.cursors.cursors(session, spec.name)
        const from = { consumer: spec.name, source: producer }
        // What was read in the producer's log was all there is up to its heads. Of what was received as a whole some may have gone the
        // other way by then, so it is asked event by event up to where that was.
        const wasReceived = before.some((cursor) => cursor.source === branchOf.source && cursor.epoch > 0)
        const to = wasReceived ? partingOf(branchOf, stream) : stream
        await contextStore.inbox.copy(session, { ...from, stream: branchOf.stream }, { ...from, stream: to })
      }
      return { lanes, edition, superseded }
    },
    { silentMs: parts.leaseMs },
  )
}

/** The stream under which the heads are kept where a consumer stood when a stream of its own began. */
export const partingOf = (trunk: Trunk, stream: string): string => `${trunk.stream}/${stream}`

const startOf = async ({ spec, source, runtime }: SubscriptionParts): Promise<Place> => {
  const { startAt, effects, name } = spec
  const head = await source.head()
  if (startAt === undefined && effects === 'external' && (await source.count(0)) > 0)
    throw new PabalError(
      'PABAL_START_AT_REQUIRED',
      `'${name}' of '${runtime.name}' is new, has external effects, and the log of '${source.name}' already has events for it`,
    )
  const position =
    startAt === 'now' ? head.position : typeof startAt === 'object' ? Math.min(startAt.position, head.position) : 0
  return { position, eventId: (await source.identityAt(position)) ?? null, incarnation: head.incarnation }
}

/** Positions between two reports to a producer: each is a write there. */
export const reportEvery = 10_000

/** Tells a producer what is not needed here any more: all lanes have passed it, and no parked key waits there. */
export class Report {
  readonly #parts: SubscriptionParts
  #told = -1

  constructor(parts: SubscriptionParts) {
    this.#parts = parts
  }

  isDueAt(position: number): boolean {
    return position - this.#told >= reportEvery
  }

  async send(): Promise<void> {
    const { source, spec, runtime } = this.#parts
    if (source.report === undefined) return
    const { database, contextStore } = runtime
    const needed = await database.read(async (session) => {
      const cursors = await contextStore.cursors.cursors(session, spec.name)
      const parked = await contextStore.parking.oldestNeeded(session, source.name, spec.name)
      const passed = cursors.filter((cursor) => cursor.source === source.name).map(({ position }) => position)
      // Renamed or removed by an operator meanwhile: nobody reads under this name.
      if (passed.length === 0) return undefined
      return Math.min(...passed, parked === undefined ? Number.MAX_SAFE_INTEGER : parked - 1)
    })
    if (needed === undefined || needed === this.#told) return
    await source.report(`${runtime.name}/${spec.name}`, needed)
    this.#told = needed
  }
}
