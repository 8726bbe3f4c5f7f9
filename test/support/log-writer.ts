/**
 * A process that appends to a SQLite file until it is killed: `node log-writer.ts <file> <name> [units]`. It prints a line with
 * the ids of each unit after the unit's commit, so that whoever reads the lines knows what was acknowledged. Beside each event
 * it stores a row of business state, in the same transaction.
 */
import { writeSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { systemEnvironment } from '../../src/core/environment.ts'
import { sqlite } from '../../src/store/sqlite/index.ts'
import { raised } from '../../src/testing/store-contract/fixture.ts'

const [path = '', name = '', units = 'Infinity'] = process.argv.slice(2)

const store = sqlite(path)
const database = await store.database.open(systemEnvironment)
const { log } = await database.context('ordering')
await database.transaction((session) => {
  store.tx(session).run('CREATE TABLE IF NOT EXISTS state (event_id TEXT PRIMARY KEY, writer TEXT) STRICT')
})
writeSync(1, 'ready\n')

for (let unit = 0; unit < Number(units); unit++) {
  const events = Array.from({ length: 1 + (unit % 3) }, (_, n) => raised({ key: `key-${(unit + n) % 4}` }))
  await database.transaction(async (session) => {
    const tx = store.tx(session)
    for (const { id } of events) tx.run('INSERT INTO state (event_id, writer) VALUES (?, ?)', id, name)
    // Now and then the transaction spans turns of the event loop, so that a kill can come in its middle.
    if (unit % 4 === 0) await setImmediate()
    await log.append(session, events)
    if (unit % 5 === 0) await setImmediate()
  })
  writeSync(1, `${JSON.stringify(events.map(({ id }) => id))}\n`)
}
await database.close()
