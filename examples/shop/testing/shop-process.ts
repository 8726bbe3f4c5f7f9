/** The shop's main program, and the `pabal` command over it, as processes of their own. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
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

const root = join(import.meta.dirname, '../../..')
const program = join(root, 'examples/shop/main.ts')
const options = ['--conditions=pabal-source', '--max-semi-space-size=16']

/** As `npm start` does. Killed when the test ends. */
export const startShop = (args: readonly string[], nodeOptions: readonly string[] = []): ShopProcess =>
  startNode([...options, ...nodeOptions, program, ...args])

export const runShop = (...args: string[]): Promise<Ended> => startShop(args).ended

/** Its workers, where the system tells who is whose child. */
export async function workersOf({ pid }: ShopProcess): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  const workers: number[] = []
  for (const child of children.trim().split(' '))
    if ((await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '')).includes('worker.ts'))
      workers.push(Number(child))
  return workers
}

/** As `SHOP_DATA=… npm run -s pabal --` does. */
export const runPabal = (data: string, ...args: string[]): Promise<Ended> =>
  startNode(['--conditions=pabal-source', join(root, 'src/cli/main.ts'), ...args], { SHOP_DATA: data }).ended

function startNode(args: readonly string[], environment: Readonly<Record<string, string>> = {}): ShopProcess {
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', ...environment },
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
