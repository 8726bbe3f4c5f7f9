/** pabal as the consumer's process: an app that handles what another process appends, or, with many contexts, waits. */

import { type Bound, defineContext, defineEvent } from '../../src/index.ts'
import { postgres } from '../../src/store/postgres/index.ts'
import { z } from 'zod'
import type { Arm } from './arm.ts'
import { opened, OrderPlaced, ordering } from './pabal-context.ts'
import type { Pool } from 'pg'

export const consume: NonNullable<Arm['consume']> = async (url, { topics, handle }) => {
  const handler = ordering.on(OrderPlaced, 'consumer', ({ data }) => handle(data.number))
  const made = opened(url, { max: 16 }, [handler], (pool) =>
    Array.from({ length: topics - 1 }, (_, n) => idleContext(`idle_${n}`, pool)),
  )
  await made.app.start()
  return made
}

const idleContext = (name: string, pool: Pool): Bound => {
  const Happened = defineEvent(`${name}.happened`, { schema: z.object({ id: z.string() }), key: ({ id }) => id })
  const context = defineContext(name, { store: postgres, events: [Happened] })
  return context.with({ store: postgres(pool), handlers: [context.on(Happened, 'consumer', () => {})] })
}
