/**
 * The external delivery service: a small HTTP process of its own, slow and failing on demand, that keeps the last
 * address of each order. It knows no context of the shop: to the shop it is a stranger on the network.
 *
 *     node --conditions=pabal-source examples/shop/delivery-service.ts --port 0 --data FILE
 *       [--latency-ms 0] [--fail-rate 0] [--seed 1] [--until-stdin-ends]
 *
 * Prints `{"listening":<port>}` when it can be reached (127.0.0.1 only).
 *
 * - `PUT /orders/:id/address`, header `Idempotency-Key`, body `{"address":"…","sequence":3}` → 200 with what the order
 *   has now: this address, or a newer one. 400 malformed, 413 more than 64 KiB, 422 the key was used for another change.
 * - `GET /orders/:id` → 200 `{"orderId","address","sequence","idempotencyKey"}`, or 404.
 */

import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type AddressBook, type AddressChange, openAddressBook } from './address-book.ts'

export interface DeliveryServiceOptions {
  readonly book: AddressBook
  /** Of a PUT, in milliseconds: half to one and a half of it. Default: 0. */
  readonly latencyMs?: number
  /** Share of PUTs that are answered with 503, from 0 to 1. Default: 0. Half of them were carried out nevertheless. */
  readonly failRate?: number
  /** The same seed fails the same requests, counted in the order of their arrival. Default: 1. */
  readonly seed?: number
}

interface Reply {
  readonly status: number
  readonly body: object
}

const bodyBytesMax = 64 * 1024
const idCharactersMax = 200
const addressCharactersMax = 1_000

/** Not yet listening. */
export function createDeliveryService({ book, latencyMs = 0, failRate = 0, seed = 1 }: DeliveryServiceOptions): Server {
  const random = createRandom(seed)

  const put = async (request: IncomingMessage, orderId: string): Promise<Reply> => {
    const [slowness, luck, when] = [random(), random(), random()]
    const fails = luck < failRate
    const change = await readChange(request, orderId)
    if ('status' in change) return change
    if (latencyMs > 0) await delay(latencyMs * (0.5 + slowness))
    if (fails && when < 0.5) return failed(503, 'The service is overloaded; nothing was changed.')
    const last = await book.put(change)
    if (fails) return failed(503, 'The service is overloaded.')
    if (last === 'key-reused') return failed(422, 'This Idempotency-Key was used for another change.')
    return { status: 200, body: last }
  }

  const answer = async (request: IncomingMessage): Promise<Reply> => {
    const route = parseRoute(request.url ?? '')
    if (route?.resource === 'address' && request.method === 'PUT') return put(request, route.orderId)
    if (route?.resource === 'order' && request.method === 'GET') {
      const change = await book.get(route.orderId)
      return change === undefined ? failed(404, 'No address is known for this order.') : { status: 200, body: change }
    }
    return failed(404, 'There are PUT /orders/:id/address and GET /orders/:id.')
  }

  return createServer((request, response) => {
    answer(request).then(
      (reply) => send(response, reply),
      (error: unknown) => send(response, failed(503, (error as Error).message)),
    )
  })
}

function parseRoute(url: string): { resource: 'order' | 'address'; orderId: string } | undefined {
  const match = /^\/orders\/([^/?]+)(\/address)?$/.exec(url)
  if (match === null) return undefined
  try {
    const orderId = decodeURIComponent(match[1] ?? '')
    if (orderId.length > idCharactersMax) return undefined
    return { resource: match[2] === undefined ? 'order' : 'address', orderId }
  } catch {
    return undefined
  }
}

async function readChange(request: IncomingMessage, orderId: string): Promise<AddressChange | Reply> {
  const idempotencyKey = request.headers['idempotency-key']
  if (typeof idempotencyKey !== 'string' || idempotencyKey === '' || idempotencyKey.length > idCharactersMax)
    return failed(400, `The header Idempotency-Key is needed, at most ${idCharactersMax} characters.`)
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bodyBytesMax) return failed(413, `The body is larger than ${bodyBytesMax} bytes.`)
    chunks.push(chunk)
  }
  const { address, sequence } = parseBody(Buffer.concat(chunks).toString())
  if (typeof address !== 'string' || address === '' || address.length > addressCharactersMax)
    return failed(400, `address must be a text of 1 to ${addressCharactersMax} characters.`)
  if (typeof sequence !== 'number' || !Number.isSafeInteger(sequence) || sequence < 0)
    return failed(400, 'sequence must be a whole number from 0.')
  return { orderId, address, sequence, idempotencyKey }
}

function parseBody(text: string): { address?: unknown; sequence?: unknown } {
  try {
    return (JSON.parse(text) as object | null) ?? {}
  } catch {
    return {}
  }
}

const failed = (status: number, error: string): Reply => ({ status, body: { error } })

function send(response: ServerResponse, { status, body }: Reply): void {
  const headers = { 'content-type': 'application/json', ...(status === 503 ? { 'retry-after': '1' } : {}) }
  response.writeHead(status, headers).end(`${JSON.stringify(body)}\n`)
}

/** Mulberry32: small, seeded, from 0 to below 1. */
function createRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '0' },
      data: { type: 'string' },
      'latency-ms': { type: 'string', default: '0' },
      'fail-rate': { type: 'string', default: '0' },
      seed: { type: 'string', default: '1' },
      'until-stdin-ends': { type: 'boolean', default: false },
    },
  })
  if (values.data === undefined) throw new Error('--data FILE is needed: where the addresses are kept.')
  const book = await openAddressBook(values.data)
  const latencyMs = readNumber('--latency-ms', values['latency-ms'], 60_000)
  const failRate = readNumber('--fail-rate', values['fail-rate'], 1)
  const seed = readNumber('--seed', values.seed, 2 ** 32)
  const server = createDeliveryService({ book, latencyMs, failRate, seed })
  server.listen(readNumber('--port', values.port, 65_535), '127.0.0.1')
  await once(server, 'listening')

  const stop = () => {
    server.close(() => void book[Symbol.asyncDispose]())
    server.closeIdleConnections()
    process.stdin.destroy()
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  // Whoever started it may die by kill -9 and tell nothing; its end of the pipe closes all the same.
  if (values['until-stdin-ends']) process.stdin.once('end', stop).resume()

  // Last: whoever reads it may send a signal at once.
  console.log(JSON.stringify({ listening: (server.address() as AddressInfo).port }))
}

function readNumber(name: string, text: string, max: number): number {
  const number = Number(text)
  if (text.trim() === '' || !(number >= 0 && number <= max))
    throw new Error(`${name} must be a number from 0 to ${max}.`)
  return number
}

if (import.meta.main) {
  try {
    await main()
  } catch (error) {
    console.error(`delivery-service: ${(error as Error).message}`)
    process.exitCode = 1
  }
}
