/**
 * Receives for one subscriber, in one process at a time: who holds the turn has all that is out, so that what comes comes in the
 * order of the stream. Acknowledged is what was taken; what was not goes back before the turn does, and is the next that anyone
 * is brought.
 */

import { backoffMs } from '../../core/environment.ts'
import type { Channel, Receiving, Take, TransportOptions } from '../transport.ts'
import type { Fetched, JetStreamMessage, MessageHeaders, PullConsumer } from './driver.ts'
import { asPabalError } from './errors.ts'
import { type Connected, type Link, unlessAborted, within } from './link.ts'
import { incoming } from './message.ts'
import type { ChannelNames, SubscriberNames } from './names.ts'
import { type Arrangement, provideSubscriber } from './provision.ts'
import type { Settings } from './options.ts'
import { copyRefused } from './refused.ts'
import { seedTurn, type Turn, turnOf } from './turn.ts'

export interface ReceptionParts extends TransportOptions {
  readonly link: Link
  readonly settings: Settings
  readonly headers: () => MessageHeaders
  readonly channel: Channel
  readonly subscriber: string
  readonly names: ChannelNames
  readonly own: SubscriberNames
  readonly take: Take
}

/** Between tries, after the first failure and at most. */
const pauseMs = { first: 100, max: 5_000 } as const
/**
 * One request for messages waits so long for them, the least that the client allows. It is never left while the connection is up:
 * a server of 2.9 that meets the request of somebody who is gone forgets what was just given back, until `ackWait` is over.
 */
const pullMs = 1_000

/**
 * Bytes of one request for messages: a server gives up a connection to which it has more than 64 MiB to write (`max_pending`), and
 * would be asked for the same again. Its client asks by number or by bytes, not by both, so the number goes by what came before.
 */
const fetchBytesMax = 33_554_432
/** Of a message, beside its data. */
const headerBytes = 1_024

/** What one connection gives to the reception. */
interface Ready extends Arrangement {
  readonly connected: Connected
  readonly messages: PullConsumer
  readonly turns: PullConsumer
}

export class Reception implements Receiving {
  readonly #parts: ReceptionParts
  readonly #ended = new AbortController()
  #ready: Ready | undefined
  #running: Promise<void> = Promise.resolve()

  private constructor(parts: ReceptionParts) {
    this.#parts = parts
  }

  /** Rejects when what it needs is not there; later troubles are warned of, and it goes on. */
  static async begin(parts: ReceptionParts): Promise<Reception> {
    const reception = new Reception(parts)
    await reception.#prepare()
    reception.#running = reception.#run()
    return reception
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort()
    await this.#running
  }

  async #prepare(): Promise<Ready> {
    const { link } = this.#parts
    const connected = await link.live()
    if (this.#ready?.connected === connected) return this.#ready
    return (this.#ready = await unlessAborted(this.#readyOver(connected), connected.lost))
  }

  async #readyOver(connected: Connected): Promise<Ready> {
    const { names, own, settings, channel, subscriber } = this.#parts
    const { manager, jetstream } = connected
    const arrangement = await provideSubscriber(manager, channel, subscriber, settings)
    await seedTurn(connected, own.turn)
    try {
      const messages = await jetstream.consumers.get(names.stream, own.consumer)
      const turns = await jetstream.consumers.get(own.turn.stream, own.turn.consumer)
      return { ...arrangement, connected, messages, turns }
    } catch (error) {
      throw asPabalError(error, `receiving from ${names.stream}`)
    }
  }

  async #run(): Promise<void> {
    const { environment, warn, channel, subscriber } = this.#parts
    const ended = this.#ended.signal
    let failures = 0
    while (!ended.aborted)
      try {
        const ready = await unlessAborted(this.#prepare(), ended)
        const turn = await this.#awaitTurn(ready)
        if (turn !== undefined) await this.#hold(ready, turn)
        failures = 0
      } catch (error) {
        if (ended.aborted) return
        const before = this.#ready
        // Somebody may have removed what was there.
        this.#ready = undefined
        if (failures++ === 0) warn(`'${subscriber}' cannot receive from '${channel.context}', and tries again`, error)
        await before?.connected.probe()
        await environment.sleep(backoffMs(failures, pauseMs.first, pauseMs.max, environment.random), ended)
      }
  }

  /** Undefined when nobody has given it up for a while. */
  async #awaitTurn({ connected, turns, turnMs }: Ready): Promise<Turn | undefined> {
    const { environment, own } = this.#parts
    const fetched = await turns.fetch({ max_messages: 1, expires: pullMs })
    let turn: Turn | undefined
    await this.#each(fetched, connected, (message) => {
      turn = turnOf(message, turnMs, environment)
    })
    // Whoever purges that stream would stop everybody.
    if (turn === undefined && connected.up && !this.#ended.signal.aborted)
      await unlessAborted(seedTurn(connected, own.turn), connected.lost)
    return turn
  }

  /** Receives until it is ended, the connection is lost, or a batch was not taken. */
  async #hold(ready: Ready, turn: Turn): Promise<void> {
    const { connected, messages, batch } = ready
    const ended = this.#ended.signal
    const held = new Set<JetStreamMessage>()
    // What is large comes with what is large: of the first ones nothing is known.
    let each: number = this.#parts.settings.messageBytes
    const beating = new AbortController()
    const beat = this.#beat(ready, turn, held, beating.signal)
    const failed = new AbortController()
    let piece: JetStreamMessage[] = []
    const takePiece = async (): Promise<void> => {
      const taking = piece
      piece = []
      try {
        if (taking.length > 0) {
          turn.renew()
          await this.#take(ready, taking)
        }
        for (const taken of taking) held.delete(taken)
      } catch (error) {
        failed.abort(error)
      }
    }
    try {
      while (!ended.aborted && connected.up && !failed.signal.aborted && turn.mine) {
        const most = Math.min(batch, Math.max(1, Math.floor(fetchBytesMax / each)))
        // Whoever has the turn next is to find what is out free again: it lasts longer than what comes now, however late the beat is.
        turn.renew()
        const fetched = await messages.fetch({ max_messages: most, expires: pullMs })
        let [count, bytes] = [0, 0]
        await this.#each(fetched, connected, async (message) => {
          held.add(message)
          bytes += message.data.length + headerBytes
          each = bytes / ++count
          if (ended.aborted || failed.signal.aborted) return
          piece.push(message)
          if (fetched.getPending() === 0 || piece.length === most) await takePiece()
        })
        // What the client had besides may have been no message.
        if (!ended.aborted && !failed.signal.aborted) await takePiece()
      }
    } finally {
      beating.abort()
      await beat
      await this.#giveBack(ready, turn, held)
    }
    failed.signal.throwIfAborted()
  }

  /** All that come of a fetch, which ends by itself, or with the connection. */
  async #each(
    fetched: Fetched,
    { lost }: Connected,
    each: (message: JetStreamMessage) => Promise<void> | void,
  ): Promise<void> {
    const stop = (): void => fetched.stop()
    if (lost.aborted) stop()
    lost.addEventListener('abort', stop, { once: true })
    try {
      for await (const message of fetched) await each(message)
    } finally {
      lost.removeEventListener('abort', stop)
    }
  }

  async #take({ connected }: Ready, batch: readonly JetStreamMessage[]): Promise<void> {
    const { take, names, own, channel, subscriber, warn, headers, settings } = this.#parts
    const taken = await take(batch.map(incoming))
    for (const [at, answer] of taken.entries())
      if (answer !== undefined) {
        const message = batch[at]!
        warn(
          `'${subscriber}' has refused a message of '${channel.context}'; it is kept in ${own.refused.stream}`,
          answer.refused,
        )
        await copyRefused(
          { connected, headers, names, own, timeoutMs: settings.publishTimeoutMs },
          message,
          answer.refused,
        )
      }
    // The connection keeps the order, so the answer to the last is one to all. Without it they come again, and are known.
    for (const message of batch.slice(0, -1)) message.ack()
    const acknowledged = batch.at(-1)!.ackAck({ timeout: settings.publishTimeoutMs })
    await unlessAborted(acknowledged, connected.lost).catch((error: unknown) => {
      throw asPabalError(error, `acknowledging messages of ${names.stream}`)
    })
  }

  /** Signs of life. What belongs to a turn that is lost gets none. */
  async #beat(
    { ackWaitMs, turnMs, connected }: Ready,
    turn: Turn,
    held: ReadonlySet<JetStreamMessage>,
    done: AbortSignal,
  ): Promise<void> {
    const { environment } = this.#parts
    const everyMs = Math.min(ackWaitMs, turnMs / 2) / 3
    for (await environment.sleep(everyMs, done); !done.aborted; await environment.sleep(everyMs, done)) {
      if (!connected.up || !turn.mine) continue
      turn.renew()
      for (const message of held) message.working()
    }
  }

  async #giveBack({ connected }: Ready, turn: Turn, held: ReadonlySet<JetStreamMessage>): Promise<void> {
    const { environment } = this.#parts
    // What is said to a lost connection is lost too. While the client makes it anew, the messages stay ours.
    if (!connected.up) await within(connected.back(), turn.leftMs, environment, this.#ended.signal)
    // What belongs to a turn that is over may be out again already, to another.
    if (!connected.up || !turn.mine) return
    for (const message of held) message.nak()
    turn.giveBack()
    await connected.settled()
  }
}
