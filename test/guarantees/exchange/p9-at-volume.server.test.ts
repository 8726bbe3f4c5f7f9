/** P9 At volume, with everything broken again and again: over each broker, and over the nasty one in memory. */

import { PassThrough } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { describe, onTestFinished, test } from 'vitest'
import { nasty, NastyBroker } from '../../../src/testing/nasty-transport.ts'
import type { Broker } from '../../../tools/servers/broker.ts'
import { startChild } from '../../support/child.ts'
import { startKafka } from '../../../tools/servers/kafka.ts'
import { quorumQueueIsKept } from '../../../tools/servers/rabbitmq.ts'
import { titled } from '../../support/require-server.ts'
import { type FaultProxy, faultProxy } from '../../support/tcp-fault.ts'
import { testChance } from '../postgres/chance.ts'
import { consumers, producers } from './apps.ts'
import { brokers } from './brokers.ts'
import { type Part, play } from './at-volume-part.ts'
import { type Member, type Playground, runAtVolume } from './at-volume.ts'
import { type TransportName, transports } from './transports.ts'

const soak = process.env['PABAL_SOAK'] !== undefined
const events = soak ? 100_000 : 10_000
const times = soak ? 6 : 1
const timeout = { timeout: soak ? 3_600_000 : 300_000 }

interface Over {
  readonly missing: string | undefined
  readonly start: (linked: (port: number) => Promise<FaultProxy>) => Promise<Broker>
  /** Before the first crash. */
  readonly kept?: (broker: Broker) => Promise<unknown>
  /** Of the events, as a part. */
  readonly share?: number
}

const rawLink = (port: number): Promise<FaultProxy> => faultProxy(port, () => () => [])

const overEach: Readonly<Record<TransportName, Over>> = {
  rabbitmq: {
    ...brokers.rabbitmq,
    kept: async (broker) => {
      for (const { name } of producers)
        for (const consumer of consumers) await quorumQueueIsKept(broker, `pabal.${name}.${consumer}.refused`)
    },
  },
  kafka: {
    ...brokers.kafka,
    start: (linked) =>
      startKafka({
        settings: async ({ port }) => ({
          'advertised.listeners': `PLAINTEXT://127.0.0.1:${(await linked(port)).port}`,
        }),
      }),
  },
  nats: brokers.nats,
  'redis-streams': brokers['redis-streams'],
  // The emulator hands out one message of a group with each receive, a hundred or two in a second.
  'sns-sqs': { ...brokers['sns-sqs'], share: 0.1 },
}

describe.each(Object.entries(overEach) as [TransportName, Over][])('at volume', (name, over) => {
  describe.skipIf(over.missing)(titled(`over ${name}`, over.missing), () => {
    test('nothing is lost, doubled or out of order', timeout, async () => {
      const chance = testChance()
      const playground = await real(name, over)
      await runAtVolume({ playground, events: events * (over.share ?? 1), times, chance })
    })
  })
})

describe('at volume over a nasty transport', () => {
  test('nothing is lost, doubled or out of order', timeout, async () => {
    const chance = testChance()
    // What is refused waits for its turn, up to a minute: the usual share of that would make a long test of it.
    const broker = new NastyBroker({ random: () => chance.next(), faults: { ...nasty, partialFailures: 0.03 } })
    await runAtVolume({ playground: inMemory(broker), events, times, chance })
  })
})

const real = async (name: TransportName, { start, kept }: Over): Promise<Playground> => {
  let link: FaultProxy | undefined
  const linked = async (port: number): Promise<FaultProxy> => {
    await link?.close()
    link = await rawLink(port)
    return link
  }
  const broker = await start(linked)
  onTestFinished(() => broker[Symbol.asyncDispose]())
  const proxy = link ?? (await linked(broker.port))
  onTestFinished(() => proxy.close())
  const url = name === 'kafka' ? `127.0.0.1:${proxy.port}` : proxy.url(broker.url)
  const during = async (ms: number): Promise<void> => {
    await setTimeout(ms)
    proxy.heal()
  }
  return {
    transport: await transports[name](url),
    hire: (part) =>
      startChild({ file: 'test/guarantees/exchange/at-volume-process.ts' }, JSON.stringify(part), name, url),
    breaks: {
      'the broker crashes': async (ms) => {
        await kept?.(broker)
        await broker.crash()
        await setTimeout(ms)
        await broker.start()
      },
      'the link is frozen': (ms) => {
        proxy.freeze()
        return during(ms)
      },
      'the link is cut': (ms) => {
        proxy.refuse()
        proxy.reset()
        return during(ms)
      },
      'answers are lost': async (ms) => {
        proxy.cutReplies()
        await during(ms)
        proxy.reset()
      },
    },
  }
}

/** No process of its own is possible there: apps are stopped in the middle. */
const inMemory = (broker: NastyBroker): Playground => ({
  transport: broker.transport,
  hire: (part) => new InProcess(part, broker),
  breaks: {
    'the broker is down': async (ms) => {
      broker.down = true
      await setTimeout(ms)
      broker.down = false
    },
  },
})

class InProcess implements Member {
  readonly #commands = new PassThrough()
  readonly #started = Promise.withResolvers<void>()
  readonly lines: string[] = []
  readonly ended: Promise<unknown>

  constructor(part: Part, broker: NastyBroker) {
    let killed = false
    const playing = play(part, broker.transport, {
      commands: this.#commands,
      say: (line) => {
        this.lines.push(line)
        this.#started.resolve()
      },
      die: (app) => {
        killed = true
        void app.stop({ graceMs: 0 })
        this.#commands.end()
        throw new Error('killed')
      },
    })
    this.ended = playing.catch((error: unknown) => {
      if (!killed) throw error
    })
    onTestFinished(() => this.kill())
  }

  readonly said = (): Promise<void> => this.#started.promise
  /** Nobody hears it after the end. */
  readonly tell = (line: string): void => {
    if (!this.#commands.writableEnded) this.#commands.write(`${line}\n`)
  }
  readonly kill = async (): Promise<void> => {
    this.#commands.end()
    await this.ended
  }
}
