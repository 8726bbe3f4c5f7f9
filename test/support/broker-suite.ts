/** What holds for every broker that tests start, asked by a client of its kind. */

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { expect, onTestFinished } from 'vitest'
import type { Broker } from '../../tools/servers/broker.ts'
import { startChild } from './child.ts'
import { eventually } from './eventually.ts'
import { accepts } from '../../tools/servers/server-process.ts'

/** Connects anew for each call: connections end with their server. */
export interface Words {
  /** Resolves when the broker has confirmed it. */
  write(to: Broker, word: string): Promise<void>
  /** All that were written, in order. */
  read(from: Broker): Promise<string[]>
}

/** Slow machines start two brokers, and each again. */
export const withinMs = 180_000

/** Two at once do not see each other, and keep what was confirmed: one over a crash, the other over a stop. */
export const keepsWhatWasConfirmed = async (start: () => Promise<Broker>, words: Words): Promise<void> => {
  const before = new Set(descendants(process.pid))
  const [crashed, stopped] = await Promise.all([startToTheEnd(start), startToTheEnd(start)])
  await words.write(crashed, 'one')
  await words.write(crashed, 'two')
  await words.write(stopped, 'three')
  expect(await words.read(crashed)).toEqual(['one', 'two'])
  expect(await words.read(stopped)).toEqual(['three'])

  const servers = [crashed, stopped].map(({ pid }) => pid!)
  const family = servers.flatMap((pid) => [pid, ...descendants(pid)])
  await Promise.all([crashed.crash(), stopped.stop()])
  for (const { pid, port } of [crashed, stopped]) {
    expect(pid).toBeUndefined()
    expect(await accepts(port)).toBe(false)
  }
  await eventually('none of their processes is left', () => living().every(({ pid }) => !family.includes(pid)))

  await Promise.all([crashed.start(), stopped.start()])
  await words.write(crashed, 'four')
  expect(await words.read(crashed)).toEqual(['one', 'two', 'four'])
  expect(await words.read(stopped)).toEqual(['three'])

  for (const server of [crashed, stopped]) {
    await server[Symbol.asyncDispose]()
    expect(existsSync(server.dataFolder)).toBe(false)
  }
  await eventually('no process of ours is left, of those beside them neither', () =>
    descendants(process.pid).every((pid) => before.has(pid)),
  )
}

/** `call` starts one in a process that has imported `module` as `server`. */
export const goesWithItsProcess = async (module: string, call: string): Promise<void> => {
  const child = startChild({
    text: `
      import * as server from './tools/servers/${module}'
      const { port, dataFolder } = await server.${call}()
      console.log(JSON.stringify({ port, dataFolder }))
      setInterval(() => {}, 1000)`,
  })
  const ended = child.ended.then((code) => {
    throw new Error(`it has ended with ${code}`)
  })
  const line = await Promise.race([eventually('it runs', () => child.lines[0], withinMs), ended])
  ended.catch(() => {})
  const { port, dataFolder } = JSON.parse(line) as { port: number; dataFolder: string }
  expect(await accepts(port)).toBe(true)
  const family = descendants(child.pid)
  await child.kill()
  await eventually('its processes are gone', () => living().every(({ pid }) => !family.includes(pid)))
  expect(existsSync(dataFolder)).toBe(false)
}

const startToTheEnd = async (start: () => Promise<Broker>): Promise<Broker> => {
  const broker = await start()
  onTestFinished(() => broker[Symbol.asyncDispose]())
  return broker
}

interface Living {
  readonly pid: number
  readonly parent: number
}

/** A zombie is none: its parent, which may be the machine's first process, takes its time. Nor is `ps`, which looks. */
const living = (): Living[] => {
  const ps = spawnSync('ps', ['-A', '-o', 'pid=,ppid=,stat='], { encoding: 'utf8' })
  return ps.stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , state]) => !state?.startsWith('Z'))
    .map(([pid, parent]) => ({ pid: Number(pid), parent: Number(parent) }))
    .filter(({ pid }) => pid !== ps.pid)
}

const descendants = (root: number): number[] => {
  const all = living()
  const of = (parent: number): number[] =>
    all.filter((each) => each.parent === parent).flatMap(({ pid }) => [pid, ...of(pid)])
  return of(root)
}
