/** A process of the world: `worker <folder>` handles, `writer <folder> <from> <to>` places real orders and says which. */

import { openWorld, place, realOrders } from './world.ts'

const [role, folder, from, to] = process.argv.slice(2)
// Another failure rate in every process, so that no two runs interleave alike.
const app = openWorld(folder!, { failing: () => Math.random() < 0.02, lanes: 4 })

if (role === 'worker') {
  await app.start()
  console.log('started')
} else {
  const orders = await realOrders(Number(to))
  for (let i = Number(from); i < Number(to); i++) {
    await place(app, `request-${i}`, orders[i]!)
    console.log(`placed ${i}`)
  }
  console.log('done')
  await app.stop()
}
