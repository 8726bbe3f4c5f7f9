/**
 * Schedules by chance: a few transactions, a ticker and a reader on a real server, one step after the other, so that a fault
 * shows within milliseconds and not only under load.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'pg'
import type { EventRecord } from '../../../src/event/envelope.ts'
import { codeOf } from '../../../src/store/postgres/errors.ts'
import type { Chance } from './chance.ts'
import type { Rig } from './rig.ts'
import { faultsOf, idsOf, type Orders } from './workload.ts'

const actorsMax = 4
const stepsMax = 40

export interface ScheduleOptions {
  /** Transactions may be prepared, and stay so over other steps. Needs a server of the test's own. */
  readonly twoPhase?: boolean
}

/** One transaction at a time, on a connection of its own. */
class Actor {
  readonly client: Client
  readonly pid: number
  state: 'idle' | 'open' | 'waiting' | 'prepared' = 'idle'
  events: EventRecord[] = []
  /** The greatest key that it holds: keys are taken in order, so that nobody waits in a circle. */
  key = ''
  gid = ''
  answer: Promise<unknown> = Promise.resolve()
  answered = true

  constructor(client: Client) {
    this.client = client
    this.pid = (client as unknown as { processID: number }).processID
  }

  idle(): void {
    this.state = 'idle'
    this.events = []
    this.key = ''
  }
}

export class Schedules {
  readonly #rig: Rig
  readonly #orders: Orders
  readonly #options: ScheduleOptions
  readonly #actors: readonly Actor[]
  readonly #watcher: Client
  readonly committed: string[] = []
  #gids = 0

  private constructor(rig: Rig, orders: Orders, clients: readonly Client[], options: ScheduleOptions) {
    this.#rig = rig
    this.#orders = orders
    this.#options = options
    this.#watcher = clients[0]!
    this.#actors = clients.slice(1).map((client) => new Actor(client))
  }

  static async create(rig: Rig, orders: Orders, options: ScheduleOptions = {}): Promise<Schedules> {
    const clients: Client[] = []
    while (clients.length <= actorsMax) clients.push(await rig.connect())
    return new Schedules(rig, orders, clients, options)
  }

  /** One schedule to its end; what is wrong with the log after it. */
  async run(chance: Chance): Promise<ReturnType<typeof faultsOf>> {
    const steps = 10 + chance.below(stepsMax)
    for (let n = 0; n < steps; n++) await this.#step(chance)
    for (let busy = this.#busy(); busy.length > 0; busy = this.#busy())
      for (const actor of busy) if (actor.state !== 'waiting') await this.#end(actor, chance)
    await this.#rig.tickAll()
    await this.#rig.read()
    return faultsOf(this.#rig.seen, this.committed)
  }

  #busy(): readonly Actor[] {
    return this.#actors.filter(({ state }) => state !== 'idle')
  }

  async #step(chance: Chance): Promise<void> {
    const actor = chance.of(this.#actors)
    const dice = chance.below(100)
    if (dice < 22) return this.#tick(chance)
    if (dice < 26) {
      // Somebody who has nothing to do with it.
      await this.#watcher.query('SELECT pg_current_xact_id()')
      return
    }
    switch (actor.state) {
      case 'idle':
        return this.#begin(actor, chance)
      case 'open':
        if (dice < 65) return this.#append(actor, chance)
        if (dice < 72) return this.#undone(actor, chance)
        if (dice < 78) return this.#tickInside(actor, chance)
        return this.#end(actor, chance)
      case 'prepared':
        return this.#end(actor, chance)
      default:
    }
  }

  async #tick(chance: Chance): Promise<void> {
    await this.#rig.tick(chance.percent(50) ? 20_000 : 1 + chance.below(3))
    await this.#rig.read()
  }

  async #begin(actor: Actor, chance: Chance): Promise<void> {
    const level = chance.percent(80) ? 'READ COMMITTED' : chance.of(['REPEATABLE READ', 'SERIALIZABLE'])
    await actor.client.query(`BEGIN ISOLATION LEVEL ${level}`)
    actor.state = 'open'
    if (chance.percent(40)) await actor.client.query('SELECT pg_current_xact_id()')
  }

  #events(actor: Actor, chance: Chance): EventRecord[] {
    const keys = this.#orders.customers.filter((key) => key >= actor.key)
    return chance.some(keys, 3).map((key) => this.#orders.event(key))
  }

  async #append(actor: Actor, chance: Chance): Promise<void> {
    const events = this.#events(actor, chance)
    actor.key =
      idsOf(events).length === 0
        ? actor.key
        : events
            .map(({ key }) => key)
            .toSorted()
            .at(-1)!
    actor.state = 'waiting'
    actor.answered = false
    actor.answer = this.#rig.append(actor.client, events).then(
      () => {
        actor.events.push(...events)
        actor.answered = true
      },
      (error: unknown) => {
        actor.answered = true
        throw error
      },
    )
    actor.answer.catch(() => {})
    await this.#look(actor)
  }

  /** Until it has its answer, or waits for a lock. */
  async #look(actor: Actor): Promise<void> {
    for (let waits = 0; !actor.answered && waits < 2; ) {
      const { rows } = await this.#watcher.query('SELECT 1 FROM pg_locks WHERE pid = $1 AND NOT granted', [actor.pid])
      waits = rows.length > 0 ? waits + 1 : 0
      if (!actor.answered) await sleep(1)
    }
    if (!actor.answered) return
    actor.state = 'open'
    await this.#unlessConflict(actor, actor.answer)
  }

  /** What the higher levels of isolation bring with them: the unit is undone. */
  async #unlessConflict(actor: Actor, work: Promise<unknown>): Promise<void> {
    try {
      await work
    } catch (error) {
      if (codeOf(error) !== 'PABAL_STORE_CONFLICT' && codeOf(error) !== '40001') throw error
      await actor.client.query('ROLLBACK')
      actor.idle()
      await this.#lookAll()
    }
  }

  async #lookAll(): Promise<void> {
    for (const actor of this.#actors) if (actor.state === 'waiting') await this.#look(actor)
  }

  /** Appends in a savepoint, and goes back. Its keys are free: nobody waits here. */
  async #undone(actor: Actor, chance: Chance): Promise<void> {
    if (this.#busy().length > 1) return
    const events = this.#events(actor, chance)
    const work = async (): Promise<void> => {
      await actor.client.query('SAVEPOINT undone')
      await this.#rig.append(actor.client, events)
      await actor.client.query('ROLLBACK TO undone')
    }
    await this.#unlessConflict(actor, work())
  }

  /** Refused where it must be. Where it is not, nobody else ticks until the transaction has ended. */
  async #tickInside(actor: Actor, chance: Chance): Promise<void> {
    await actor.client.query('SAVEPOINT tick')
    try {
      await this.#rig.tickInside(actor.client, chance.percent(50) ? 20_000 : 2)
    } catch (error) {
      if (codeOf(error) !== '25001') throw error
      await actor.client.query('ROLLBACK TO tick')
    }
  }

  async #end(actor: Actor, chance: Chance): Promise<void> {
    const commits = chance.percent(80)
    const ending = commits ? 'COMMIT' : 'ROLLBACK'
    const { events, state } = actor
    if (state === 'open' && this.#options.twoPhase === true && events.length > 0 && chance.percent(30))
      return this.#prepare(actor)
    const work = async (): Promise<void> => {
      await actor.client.query(state === 'prepared' ? `${ending} PREPARED '${actor.gid}'` : ending)
      if (commits) this.committed.push(...idsOf(events))
      actor.idle()
    }
    await this.#unlessConflict(actor, work())
    await this.#lookAll()
  }

  async #prepare(actor: Actor): Promise<void> {
    actor.gid = `schedule-${this.#gids++}`
    try {
      await actor.client.query(`PREPARE TRANSACTION '${actor.gid}'`)
      actor.state = 'prepared'
    } catch (error) {
      // It has ticked, and what has notified cannot be prepared; or it conflicts. It is rolled back.
      if (codeOf(error) !== '0A000' && codeOf(error) !== '40001') throw error
      actor.idle()
      await this.#lookAll()
    }
  }
}
