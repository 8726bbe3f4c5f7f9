/** The shop's main program as a process of its own. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { eventually } from '../../../test/support/eventually.ts'
import type { Figures } from '../figures.ts'

export interface Ended {
  /** Null after a kill. */
  readonly code: number | null
  readonly out: string
  readonly err: string
  /** The JSON line. */
  readonly figures: () => Figures & { readonly seconds: number }
}

export interface ShopProcess {
  readonly pid: number
  /** Resolves when its output holds that text. */
  said(text: string): Promise<void>
  kill(signal: NodeJS.Signals): void
  readonly ended: Promise<Ended>
}

const program = join(import.meta.dirname, '../main.ts')
const options = ['--conditions=pabal-source', '--max-semi-space-size=16']

/** As `npm start` does. Killed when the test ends. */
export function startShop(args: readonly string[], nodeOptions: readonly string[] = []): ShopProcess {
  const child = spawn(process.execPath, [...options, ...nodeOptions, program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
  const ended = once(child, 'close').then(([code]) => ({
    code: code as number | null,
    out,
    err,
    figures: () => JSON.parse(out) as Figures & { seconds: number },
  }))
  return {
    pid: child.pid!,
    kill: (signal) => void child.kill(signal),
    async said(text) {
      await eventually(`the shop says ${JSON.stringify(text)}`, () => {
        if (child.exitCode !== null && !out.includes(text)) throw new Error(`it has ended: ${out}${err}`)
        return out.includes(text)
      })
    },
    ended,
  }
}

export const runShop = (...args: string[]): Promise<Ended> => startShop(args).ended
