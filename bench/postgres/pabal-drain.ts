/** Draining with pabal: a durable handler with database effects, new in every turn, from the beginning of the log. */

import { type Arm, insertEffect } from './arm.ts'
import { opened, OrderPlaced, ordering } from './pabal-context.ts'

let consumers = 0

interface DrainAs {
  readonly pipeline: boolean
  /** The store's own number unless given. */
  readonly lanes?: number
  /** The handler reads the payload, which is parsed then. */
  readonly reads?: boolean
}

export const drain =
  ({ pipeline, lanes, reads = false }: DrainAs): NonNullable<Arm['drain']> =>
  async (url, { writes = false, limitMs }) => {
    let handled = 0
    const handler = ordering.on(
      OrderPlaced,
      `consumer-${++consumers}-${process.pid}`,
      writes
        ? async ({ data }, { tx }) => {
            handled++
            await tx.query(insertEffect, [data.number, data.total])
          }
        : (event) => {
            handled++
            if (reads) void event.data
          },
      lanes === undefined ? {} : { lanes },
    )
    const made = opened(url, { max: 16, pipeline }, [handler])
    await made.app.context(ordering).read(() => undefined)
    return {
      run: async () => {
        const startMs = performance.now()
        await made.app.start()
        // What is not done by then is given back when the app stops.
        await made.app.settle({ withinMs: limitMs }).catch((error: unknown) => {
          if (performance.now() - startMs < limitMs) throw error
        })
        return { events: handled, wallMs: performance.now() - startMs }
      },
      [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
    }
  }
