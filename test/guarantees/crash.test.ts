/** P1 to P5 together, when processes die and stall in the middle of anything. */

import { expect, test } from 'vitest'
import { type Child, startChild } from '../support/child.ts'
import { eventually } from '../support/eventually.ts'
import { testFolder } from '../support/folder.ts'
import { rowsOf } from '../support/shop.ts'
import { expectWhole, openWorld, paths } from './world.ts'

const file = 'test/guarantees/worker.ts'
const orders = 400

const settleWorld = async (folder: string): Promise<void> => {
  const app = openWorld(folder, { lanes: 4 })
  try {
    await app.settle({ withinMs: 60_000 })
  } finally {
    await app.stop()
  }
}

const acknowledged = (child: Child): number =>
  Math.max(-1, ...child.lines.filter((line) => line.startsWith('placed ')).map((line) => Number(line.slice(7))))

test('P1 to P5 hold while two workers and a writer are killed again and again', { timeout: 120_000 }, async () => {
  const folder = await testFolder()
  const worker = (): Child => startChild({ file }, 'worker', folder)
  let workers = [worker(), worker()]
  let next = 0
  for (let kills = 0; next < orders; kills++) {
    // The request that was under way is sent again: its key tells whether it was done.
    const writer = startChild({ file }, 'writer', folder, String(next), String(orders))
    const goal = Math.min(orders - 1, next + 25 + Math.floor(Math.random() * 25))
    await eventually('orders are placed', () => acknowledged(writer) >= goal, 60_000)
    await writer.kill()
    next = acknowledged(writer) + 1
    const victim = kills % 2
    await workers[victim]!.kill()
    workers = workers.map((other, index) => (index === victim ? worker() : other))
  }
  for (const other of workers) await other.kill()
  await settleWorld(folder)
  expect(rowsOf(paths(folder).ordering, 'SELECT 1 FROM state')).toHaveLength(orders)
  expectWhole(folder)
})

test('P4 and P5 hold when a worker is stopped beyond its lease and goes on later', { timeout: 120_000 }, async () => {
  const folder = await testFolder()
  const workers = [startChild({ file }, 'worker', folder), startChild({ file }, 'worker', folder)]
  for (const worker of workers) await worker.said('started')
  const writer = startChild({ file }, 'writer', folder, '0', String(orders))
  for (let round = 0; round < 6; round++) {
    const { pid } = workers[round % 2]!
    const before = acknowledged(writer)
    process.kill(pid, 'SIGSTOP')
    try {
      // A worker stopped inside a transaction holds the one write lock: then nobody gets on before it does.
      await eventually('the others have got on, or cannot', () => acknowledged(writer) > before + 30, 900).catch(
        () => {},
      )
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await eventually('the writer gets on', () => acknowledged(writer) > before || writer.lines.includes('done'), 60_000)
  }
  await writer.said('done')
  for (const worker of workers) await worker.kill()
  await settleWorld(folder)
  expectWhole(folder)
})
