/** A store whose log does not show some events to those who read it, as a transport that has lost them. */

import type { Store } from 'pabal'
import type { ContextStore, Database } from '../../src/store/store.ts'

const without = <T extends object>(target: T, changes: Partial<T>): T =>
  new Proxy(target, {
    get: (object, name) => {
      const changed = changes[name as keyof T]
      if (changed !== undefined) return changed
      const value: unknown = Reflect.get(object, name, object)
      return typeof value === 'function' ? (value.bind(object) as unknown) : value
    },
  })

/** `hidden` names events by key and sequence ('a2') and may change at any time. */
export const hiding = <Tx, Own>(store: Store<Tx, Own>, hidden: ReadonlySet<string>): Store<Tx, Own> => {
  const seen = ({ key, sequence }: { key: string; sequence: number }) => !hidden.has(`${key}${sequence}`)
  const open = async (...args: Parameters<typeof store.database.open>): Promise<Database> => {
    const database = await store.database.open(...args)
    return without(database, {
      context: async (name: string): Promise<ContextStore> => {
        const context = await database.context(name)
        const { log } = context
        return {
          ...context,
          log: {
            ...log,
            readAfter: async (session, options) => {
              const { events, through } = await log.readAfter(session, options)
              return { events: events.filter(seen), through }
            },
            readKey: async (session, key, options) => (await log.readKey(session, key, options)).filter(seen),
          },
        }
      },
    })
  }
  return { ...store, database: { ...store.database, open } }
}
