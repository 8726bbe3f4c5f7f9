/** Stores with one guard taken out, or with a point at which the process "dies"; everything else is the real store. */

import type { Store } from 'pabal'
import { changed } from '../support/changed-store.ts'
import type { Cursors, Database, Editions, Session } from '../../src/store/store.ts'

const wrap = (database: Database, changes: Partial<Database>): Database =>
  new Proxy(database, {
    get: (target, name) => {
      const change = changes[name as keyof Database]
      if (change !== undefined) return change
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })

const opening = <Tx, Own>(store: Store<Tx, Own>, change: (database: Database) => Database): Store<Tx, Own> => ({
  ...store,
  database: {
    ...store.database,
    open: async (environment) => change(await store.database.open(environment)),
  },
})

/** A store whose cursors do something else. */
export const withCursors = <Tx, Own>(
  store: Store<Tx, Own>,
  change: (cursors: Cursors) => Partial<Cursors>,
): Store<Tx, Own> => changed(store, ({ cursors }) => ({ cursors: { ...cursors, ...change(cursors) } }))

/** A process that knows nothing of newer ones. */
export const withoutEditions = <Tx, Own>(store: Store<Tx, Own>): Store<Tx, Own> =>
  changed(store, () => {
    const editions: Editions = {
      stayMs: undefined,
      join: () => 1,
      isSuperseded: () => false,
      leave: () => {},
      running: () => [],
      wanted: () => [],
    }
    return { editions }
  })

/** The fence taken out: a stale owner's move and hold pass as if the lane were still its own. */
export const withoutFence = <Tx, Own>(store: Store<Tx, Own>): Store<Tx, Own> =>
  withCursors(store, (cursors) => ({
    move: async (...move) => {
      return (await cursors.move(...move)) ?? []
    },
    hold: async (session, id, ...hold) => {
      const position = await cursors.hold(session, id, ...hold)
      if (position !== undefined) return position
      const rows = await cursors.cursors(session, id.consumer)
      return rows.find(({ source, lane }) => source === id.source && lane === id.lane)!.position
    },
  }))

/** The cursor moves in a transaction of its own, after that of the effects. */
export const withCursorAfterwards = <Tx, Own>(store: Store<Tx, Own>): Store<Tx, Own> => {
  const pending: ((session: Session) => unknown)[] = []
  const moving = withCursors(store, (cursors) => ({
    move: (_session, ...move) => {
      pending.push((session) => cursors.move(session, ...move))
      return []
    },
  }))
  return opening(moving, (database) =>
    wrap(database, {
      transaction: async (fn) => {
        pending.length = 0
        const result = await database.transaction(fn)
        for (const move of pending.splice(0)) await database.transaction(async (session) => void (await move(session)))
        return result
      },
    }),
  )
}

export class Died extends Error {}

/** A process that can be ended at the worst moment: from then on nothing of it reaches the database. */
export class Mortal {
  #dead = false
  #transactions = 0
  readonly #dieAfter: number

  /** Dies right after that many of its transactions have committed. */
  constructor(dieAfter = Number.POSITIVE_INFINITY) {
    this.#dieAfter = dieAfter
  }

  die(): void {
    this.#dead = true
  }

  store = <Tx, Own>(store: Store<Tx, Own>): Store<Tx, Own> =>
    opening(store, (database) =>
      wrap(database, {
        transaction: async (fn) => {
          if (this.#dead) throw new Died()
          const result = await database.transaction(fn)
          if (++this.#transactions >= this.#dieAfter) this.#dead = true
          if (this.#dead) throw new Died()
          return result
        },
        read: async (fn) => {
          if (this.#dead) throw new Died()
          return database.read(fn)
        },
      }),
    )
}

/** Holds the next transactions of a process until they are let go: a pause of the process just before BEGIN. */
export class Pausing {
  #gate: { readonly opened: Promise<void>; open: () => void } | undefined
  #reached: (() => void) | undefined

  /** Resolves when a transaction has come to the gate. */
  pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#gate = { opened: promise, open: resolve }
    return new Promise((reached) => {
      this.#reached = reached
    })
  }

  resume(): void {
    this.#gate?.open()
    this.#gate = undefined
  }

  store = <Tx, Own>(store: Store<Tx, Own>): Store<Tx, Own> =>
    opening(store, (database) =>
      wrap(database, {
        transaction: async (fn) => {
          const gate = this.#gate
          if (gate !== undefined) {
            this.#reached?.()
            await gate.opened
          }
          return database.transaction(fn)
        },
      }),
    )
}
