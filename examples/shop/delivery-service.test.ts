import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'

async function newPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shop-delivery-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return join(folder, 'addresses.jsonl')
}

async function startService(data: string, ...options: string[]) {
  const program = join(import.meta.dirname, 'delivery-service.ts')
  const args = ['--conditions=pabal-source', program, '--port', '0', '--data', data, ...options]
  const service = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(service, 'exit')
  onTestFinished(() => void service.kill('SIGKILL'))
  const { value: line } = await createInterface(service.stdout)[Symbol.asyncIterator]().next()
  const { listening } = JSON.parse(line as string) as { listening: number }
  const url = `http://127.0.0.1:${listening}`
  return {
    url,
    async kill(signal: NodeJS.Signals = 'SIGKILL') {
      service.kill(signal)
      return exited
    },
    /** As when the process that started it dies. */
    async closeStdin() {
      service.stdin.end()
      return exited
    },
    put: (orderId: string, sequence: number, key = `${orderId}-${sequence}`, address = `${sequence} High Street`) =>
      fetch(`${url}/orders/${orderId}/address`, {
        method: 'PUT',
        headers: { 'idempotency-key': key },
        body: JSON.stringify({ address, sequence }),
      }),
    async get(orderId: string) {
      const response = await fetch(`${url}/orders/${orderId}`)
      return { status: response.status, body: (await response.json()) as { address?: string; sequence?: number } }
    },
  }
}

describe('the delivery service', () => {
  it('keeps the last address, also when an older one comes later', async () => {
    const service = await startService(await newPath())
    expect((await service.put('536365', 2)).status).toBe(200)
    const older = await service.put('536365', 1)
    expect([older.status, await older.json()]).toMatchObject([200, { address: '2 High Street', sequence: 2 }])
    expect(await service.get('536365')).toMatchObject({ status: 200, body: { address: '2 High Street' } })
    expect(await service.get('536366')).toMatchObject({ status: 404 })
  })

  it('has every address that it acknowledged after kill -9, and one torn line does no harm', async () => {
    const data = await newPath()
    const acknowledged = new Map<string, number>()
    for (let round = 1; round <= 3; round++) {
      const service = await startService(data)
      let answers = 0
      const requests = Array.from({ length: 60 }, async (_, n) => {
        const [orderId, sequence] = [`order-${n % 20}`, round * 10 + Math.floor(n / 20)]
        const response = await service.put(orderId, sequence)
        if (response.status === 200) acknowledged.set(orderId, Math.max(sequence, acknowledged.get(orderId) ?? 0))
        if (++answers === 30) await service.kill()
      })
      const outcomes = await Promise.allSettled(requests)
      expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThanOrEqual(30)
      await appendFile(data, '{"orderId":"order-1","sequ')

      const restarted = await startService(data)
      expect(acknowledged.size).toBeGreaterThan(0)
      for (const [orderId, sequence] of acknowledged)
        expect((await restarted.get(orderId)).body.sequence).toBeGreaterThanOrEqual(sequence)
      await restarted.kill()
    }
  })

  it('fails the share that it is told, some of it after the change was made, and is right once all were repeated', async () => {
    const service = await startService(await newPath(), '--fail-rate', '0.5', '--latency-ms', '2', '--seed', '7')
    let [lost, refused] = [0, 0]
    for (let n = 0; n < 60; n++) {
      const orderId = `order-${n}`
      if ((await service.put(orderId, 1)).status === 503) {
        if ((await service.get(orderId)).status === 200) lost++
        else refused++
        while ((await service.put(orderId, 1)).status !== 200);
      }
      expect((await service.get(orderId)).body.sequence).toBe(1)
    }
    expect(lost).toBeGreaterThan(5)
    expect(refused).toBeGreaterThan(5)
  })

  it('says what is wrong with a request', async () => {
    const service = await startService(await newPath())
    expect((await service.put('536365', 1, 'key')).status).toBe(200)
    expect((await service.put('536365', 2, 'key')).status).toBe(422)
    expect((await service.put('536365', -1)).status).toBe(400)
    expect((await service.put('536365', 1, '')).status).toBe(400)
    expect((await service.put('536365', 3, 'long', 'x'.repeat(1_001))).status).toBe(400)
    expect((await service.put('536365', 3, 'longer', 'x'.repeat(100_000))).status).toBe(413)
    expect((await service.put('%E0%A4%A', 3)).status).toBe(404)
    expect(
      (
        await fetch(`${service.url}/orders/1/address`, {
          method: 'PUT',
          headers: { 'idempotency-key': 'k' },
          body: '{',
        })
      ).status,
    ).toBe(400)
    expect((await fetch(`${service.url}/`)).status).toBe(404)
  })

  it('ends in order at SIGTERM, and when the process that started it is gone', async () => {
    const terminated = await startService(await newPath())
    expect(await terminated.kill('SIGTERM')).toEqual([0, null])
    const orphaned = await startService(await newPath(), '--until-stdin-ends')
    expect(await orphaned.closeStdin()).toEqual([0, null])
  })
})
