/** The sequencer's tick alone: events are left without a position by whoever holds its lock, and numbered by hand then. */

import { spreadOf } from '../measure.ts'
import { append } from './pabal-append.ts'
import { newOrders, nextNumbers } from './orders.ts'
import { withClient } from './server.ts'

const schema = 'pabal_ordering'
const perTick = 1_000
const ticks = 5

/** Milliseconds that a tick takes for a thousand events: the median of five. */
export const tick = (url: string): Promise<number> =>
  withClient(url, async (client) => {
    await client.query('BEGIN')
    await client.query(`SELECT pg_advisory_xact_lock(${schema}.tick_lock())`)
    {
      await using appender = await append({ pipeline: true, start: false })(url, { connections: 1 })
      for (let appended = 0; appended < perTick * ticks; appended += 100)
        await appender.hundred!(newOrders(nextNumbers(100)))
    }
    await client.query('COMMIT')
    const samples: number[] = []
    for (let n = 0; n < ticks; n++) {
      const startMs = performance.now()
      const { rows } = await client.query<{ count: number }>(`SELECT ${schema}.tick(${perTick})::integer AS count`)
      samples.push(performance.now() - startMs)
      if (rows[0]!.count !== perTick) throw new Error(`a tick gave positions to ${rows[0]!.count} events`)
    }
    // What is left of the difference.
    await client.query(`SELECT ${schema}.tick()`)
    return spreadOf(samples).median
  })
