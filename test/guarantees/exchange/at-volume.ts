/**
 * P9 at volume: two producers and three consumers, each a process that is killed and comes again, over a broker and a link that
 * break at the same time. What happens, and when, is by a seed.
 */

import { setTimeout } from 'node:timers/promises'
import { consumerNamed, operate, pause, planReset, reset, resume } from 'pabal/operate'
import { expect } from 'vitest'
import type { Transport } from '../../../src/exchange/transport.ts'
import { publicStream } from '../../../src/exchange/exchange.ts'
import { relayName } from '../../../src/exchange/relay.ts'
import { eventually } from '../../support/eventually.ts'
import { Chance } from '../postgres/chance.ts'
import { consumers, producers } from './apps.ts'
import type { Part } from './at-volume-part.ts'
import { exchangeWorld, wholeWorld, type World } from './world.ts'

/** A process that plays a part. */
export interface Member {
  readonly said: (line: string) => Promise<void>
  /** What it has said so far. */
  readonly lines: readonly string[]
  readonly tell: (line: string) => void
  readonly kill: () => Promise<unknown>
  /** Resolves when it has ended, whyever. */
  readonly ended: Promise<unknown>
}

/** A broker with the way to it, and processes that use it. */
export interface Playground {
  readonly transport: Transport
  readonly hire: (part: Part) => Member
  /** What can break, each for so many milliseconds. */
  readonly breaks: Readonly<Record<string, (ms: number) => Promise<unknown>>>
}

export interface Volume {
  readonly playground: Playground
  /** Of both producers together. */
  readonly events: number
  /** How often each thing that can happen does, at least. */
  readonly times: number
  readonly chance: Chance
}

/** How long the broker or the link is away. */
const breakMsMax = 1_500
/** A world that does not get on for so long has come to a stand. */
const standMs = 90_000
/** Between two looks at what was applied. */
const lookEveryMs = 50

export const runAtVolume = async ({ playground, events, times, chance }: Volume): Promise<void> => {
  const world = await exchangeWorld(playground.transport)
  const crew = new Crew(world, playground, chance)
  const each = events / producers.length
  try {
    await crew.assemble()
    await crew.play(each, times)
    await crew.dismiss()
    await theRest(world)
  } catch (error) {
    console.error(crew.story())
    throw error
  }
  expect(world.faults()).toEqual(wholeWorld)
  expect(producers.map((producer) => world.published(producer).length)).toEqual(producers.map(() => each))
}

/** What was published twice, or is on its way to those who have it already, comes too. */
const theRest = async (world: World): Promise<void> => {
  const relays = producers.map((producer) => world.producer(producer))
  await Promise.all([...relays, ...consumers.map((name) => world.consumer(name))].map((app) => app.start()))
  await Promise.all(relays.map((app) => app.settle({ withinMs: standMs })))
  await eventually(
    'nothing is early',
    () => consumers.every((name) => (world.faults().get(`${name} early`) as unknown[]).length === 0),
    standMs,
  )
}

interface Round {
  readonly what: string
  readonly happens: () => Promise<unknown>
}

/** Those who play, and what happens to them. */
class Crew {
  readonly #world: World
  readonly #playground: Playground
  readonly #chance: Chance
  readonly #members = new Map<Member, Part>()
  /** Their end is no surprise. */
  readonly #doomed = new Set<Member>()
  readonly #story: (() => readonly string[])[] = []
  #failure: Error | undefined
  #allowed = 0
  #guest: Member | undefined

  constructor(world: World, playground: Playground, chance: Chance) {
    this.#world = world
    this.#playground = playground
    this.#chance = chance
  }

  async assemble(): Promise<void> {
    // Consumers first: some brokers keep nothing for those who have never been there.
    for (const [role, names] of [
      ['consumer', consumers],
      ['producer', producers.map(({ name }) => name)],
    ] as const)
      await Promise.all(names.map((name) => this.#hire({ role, name, folder: this.#world.folder }).said('started')))
  }

  #hire(part: Part): Member {
    const member = this.#playground.hire(part)
    this.#members.set(member, part)
    this.#tell(`${part.name} comes`)
    this.#story.push(() => member.lines.map((line) => `${line} (${part.name})`))
    if (part.role === 'producer') member.tell(`place ${this.#allowed}`)
    void member.ended.then(() => {
      this.#tell(`${part.name} goes`)
      if (!this.#members.delete(member)) return
      if (this.#doomed.delete(member)) this.#hire(part)
      else this.#failure = new Error(`${part.name} has ended by itself`)
    })
    return member
  }

  /** Whether every consumer has applied so many of each producer. */
  #have(count: number): boolean {
    if (this.#failure !== undefined) throw this.#failure
    return consumers.every((name) => producers.every((producer) => this.#world.applied(name, producer) >= count))
  }

  /** By all of them together. */
  #applied(): number {
    return consumers
      .flatMap((name) => producers.map((producer) => this.#world.applied(name, producer)))
      .reduce((all, count) => all + count)
  }

  /** For whoever has to find out what went wrong. */
  story(): string {
    const counts = consumers.flatMap((name) =>
      producers.map((producer) => `${name} has ${this.#world.applied(name, producer)} of ${producer.name}`),
    )
    const early = [...this.#world.faults()].map(([what, found]) => `${what}: ${JSON.stringify(found)}`)
    return [...this.#story.flatMap((lines) => lines()).toSorted(), ...counts, ...early].join('\n')
  }

  #tell(what: string): void {
    const line = `${new Date().toISOString()} ${what}`
    this.#story.push(() => [line])
  }

  /** Until every consumer has applied so many events of each producer. */
  async play(each: number, times: number): Promise<void> {
    const until = async (count: number): Promise<void> => {
      for (let most = -1, movedMs = Date.now(); !this.#have(count); ) {
        // Looking has its price, and those who work are here too.
        await setTimeout(lookEveryMs)
        const applied = this.#applied()
        if (applied > most) [most, movedMs] = [applied, Date.now()]
        else if (Date.now() - movedMs > standMs)
          throw new Error(`for ${standMs} ms nothing was applied, and not all have ${count} of each`)
      }
    }
    const rounds = this.#rounds(times)
    for (const [round, { what, happens }] of rounds.entries()) {
      const [before, after] = [round, round + 1].map((n) => Math.floor((each * n) / rounds.length))
      const middle = Math.floor((before! + after!) / 2)
      this.#allow(middle)
      // In the middle of it; what comes behind is held back, so that whoever is to die at the next event has one.
      await until(before! + Math.floor(this.#chance.next() * (middle - before!)))
      this.#tell(what)
      const happening = happens()
      this.#allow(after!)
      await happening
    }
    await until(each)
  }

  /** Producers may place so many. */
  #allow(count: number): void {
    this.#allowed = count
    for (const [member, { role }] of this.#members) if (role === 'producer') member.tell(`place ${count}`)
  }

  /** Everything that can happen so many times, in any order: one thing to the broker or the link, and one to a process at the same time. */
  #rounds(times: number): Round[] {
    const repeated = <T>(things: Readonly<Record<string, T>>): [string, T][] =>
      this.#chance.shuffled(Array.from({ length: times }, () => Object.entries(things)).flat())
    const [breaks, events] = [repeated(this.#playground.breaks), repeated(this.#events)]
    return Array.from({ length: Math.max(breaks.length, events.length) }, (_, n) => {
      const [[broken, breakFor], [event, happen]] = [breaks[n % breaks.length]!, events[n % events.length]!]
      const ms = Math.ceil(this.#chance.next() * breakMsMax)
      return { what: `${broken} for ${ms} ms, ${event}`, happens: () => Promise.all([breakFor(ms), happen()]) }
    })
  }

  readonly #events: Readonly<Record<string, () => Promise<unknown>>> = {
    'a relay dies between publish and cursor': () => this.#die('producer'),
    'a receiver dies between effect and acknowledgement': () => this.#die('consumer'),
    'a process is killed at any moment': async () => {
      const member = this.#chance.of([...this.#members.keys()])
      this.#doomed.add(member)
      await member.kill()
    },
    'a second process of a consumer comes, and one goes': async () => {
      const before = this.#guest
      this.#guest = this.#hire(this.#any('consumer'))
      await this.#guest.said('started')
      if (before !== undefined && this.#members.delete(before)) await end(before, this.#chance.percent(50))
    },
    'a relay publishes again': () => this.#publishAgain(),
  }

  #any(role: Part['role']): Part {
    return this.#chance.of([...this.#members.values()].filter((part) => part.role === role))
  }

  /** Whichever of its processes has the next event. */
  async #die(role: Part['role']): Promise<void> {
    const { name } = this.#any(role)
    const those = [...this.#members].filter(([, part]) => part.name === name).map(([member]) => member)
    for (const member of those) {
      this.#doomed.add(member)
      member.tell('die')
    }
    await Promise.race(those.map(({ ended }) => ended))
  }

  /** All of its log, as an operator does it. */
  async #publishAgain(): Promise<void> {
    const producer = this.#chance.of(producers)
    const app = this.#world.producer(producer)
    const operated = await operate(app)
    const relay = relayName(this.#playground.transport.name, publicStream)
    const address = await consumerNamed(operated, `${producer.name}/${relay}`)
    const operator = { by: 'the test' }
    // It runs in another process, and stands still for it.
    await pause(operated, address, operator)
    await reset(operated, address, await planReset(address, 'beginning'), operator)
    await resume(operated, address, operator)
    await app.stop()
  }

  async dismiss(): Promise<void> {
    const all = [...this.#members.keys()]
    this.#members.clear()
    await Promise.all(all.map((member) => end(member)))
    if (this.#failure !== undefined) throw this.#failure
  }
}

const end = async (member: Member, abruptly = false): Promise<void> => {
  if (abruptly) await member.kill()
  else member.tell('stop')
  await Promise.race([member.ended, setTimeout(30_000).then(() => Promise.reject(new Error('it does not stop')))])
}
