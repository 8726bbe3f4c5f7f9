import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'
import { countNotifications, type Notification, openNotificationFile } from './notification-file.ts'

async function newPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shop-notifications-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return join(folder, 'notifications.jsonl')
}

const notification = (n: number): Notification => ({
  idempotencyKey: `key-${n}`,
  outcome: n % 2 === 0 ? 'shipped' : 'returned',
  invoiceNo: `${536365 + n}`,
  customerId: '17850',
  text: 'On its way.',
})

describe('the notification file', () => {
  it('counts a message once, however often it was sent', async () => {
    const path = await newPath()
    await using file = await openNotificationFile(path)
    await file.send([notification(0), notification(1)])
    await file.send([notification(1), notification(2)])
    expect(await countNotifications(path)).toEqual({
      notifications: 3,
      byOutcome: { shipped: 2, declined: 0, returned: 1 },
      repeated: 1,
      torn: 0,
    })
  })

  it('counts nothing where nothing was sent', async () => {
    expect(await countNotifications(await newPath())).toMatchObject({ notifications: 0, torn: 0 })
  })

  it('does not count a torn line, and counts the one after it', async () => {
    const path = await newPath()
    await using file = await openNotificationFile(path)
    await file.send([notification(0)])
    await appendFile(path, JSON.stringify(notification(1)).slice(0, -20))
    expect(await countNotifications(path)).toMatchObject({ notifications: 1, torn: 1 })
    await file.send([notification(1)])
    expect(await countNotifications(path)).toMatchObject({ notifications: 2, torn: 1, repeated: 0 })
  })

  it('has every acknowledged message after kill -9 in the middle of sending', async () => {
    const path = await newPath()
    let sent = 0
    for (let round = 0; round < 3; round++) {
      const last = await sendUntilKilled(path, sent, 50)
      expect((await countNotifications(path)).notifications).toBeGreaterThan(last)
      sent = last
    }
    expect(sent).toBeGreaterThanOrEqual(150)
    expect((await countNotifications(path)).repeated).toBeGreaterThan(0)
  })
})

/** Starts a sender at a number and kills it after some acknowledgements; the last number acknowledged. */
async function sendUntilKilled(path: string, from: number, acknowledgements: number): Promise<number> {
  const source = `
    import { openNotificationFile } from ${JSON.stringify(join(import.meta.dirname, 'notification-file.ts'))}
    const file = await openNotificationFile(${JSON.stringify(path)})
    for (let n = ${from}; ; n++) {
      await file.send([{ idempotencyKey: 'key-' + n, outcome: 'shipped', text: 'x'.repeat(5_000) }])
      console.log(n)
    }`
  const sender: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let last = -1
  if (sender.stdout === null) throw new Error('no stdout')
  for await (const line of createInterface(sender.stdout)) {
    last = Number(line)
    if (last >= from + acknowledgements) sender.kill('SIGKILL')
  }
  if (sender.exitCode === null && sender.signalCode === null) await once(sender, 'exit')
  return last
}
