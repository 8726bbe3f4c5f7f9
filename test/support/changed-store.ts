/** A store some of whose parts behave in another way, to take a guard out. */

import type { Store } from 'pabal'
import type { ContextStore, Database } from '../../src/store/store.ts'

/** `change` gives, for each context, the parts that are not as they were. */
export const changed = <Tx, Own>(
  store: Store<Tx, Own>,
  change: (context: ContextStore) => Partial<ContextStore>,
): Store<Tx, Own> => {
  const open = async (...args: Parameters<typeof store.database.open>): Promise<Database> => {
    const database = await store.database.open(...args)
    return new Proxy(database, {
      get: (object, name) => {
        if (name === 'context')
          return async (...given: Parameters<Database['context']>): Promise<ContextStore> => {
            const context = await object.context(...given)
            return { ...context, ...change(context) }
          }
        const value: unknown = Reflect.get(object, name, object)
        return typeof value === 'function' ? (value.bind(object) as unknown) : value
      },
    })
  }
  return { ...store, database: { ...store.database, open } }
}
