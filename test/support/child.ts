/** Child processes that run the sources, and speak in lines. */

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { onTestFinished } from 'vitest'
import { eventually } from './eventually.ts'

export interface Child {
  readonly pid: number
  /** Whole lines of its standard output so far. */
  readonly lines: readonly string[]
  /** Resolves when it has printed that line, or rejects when it has ended without. */
  said(line: string): Promise<void>
  /** Sends it a line. */
  tell(line: string): void
  kill(): Promise<void>
  /** Its exit code; null after a kill. */
  readonly ended: Promise<number | null>
}

/** Runs `file`, or an ES module given as text that imports from `pabal` or the repository's root. Killed when the test ends. */
export const startChild = (program: { file: string } | { text: string }, ...args: readonly string[]): Child => {
  const run = 'file' in program ? [program.file] : ['--input-type=module', '--eval', program.text, '--']
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(
    process.execPath,
    ['--conditions=pabal-source', ...run, ...args],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  )
  const lines: string[] = []
  let complaint = ''
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()))
  child.stdin.on('error', () => {})
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  onTestFinished(kill)
  return {
    pid: child.pid!,
    lines,
    said: async (line) => {
      await eventually(`the child says ${line}`, () => {
        if (child.exitCode !== null && !lines.includes(line)) throw new Error(`the child has ended: ${complaint}`)
        return lines.includes(line)
      })
    },
    tell: (line) => child.stdin.write(`${line}\n`),
    kill,
    ended,
  }
}

/** A process that holds a SQLite file's write lock from 'held' until it is told 'release'. */
export const startHolder = (path: string): Child =>
  startChild(
    {
      text: `
        import { DatabaseSync } from 'node:sqlite'
        import { createInterface } from 'node:readline'
        const db = new DatabaseSync(process.argv[1], { timeout: 5000 })
        db.exec('BEGIN IMMEDIATE')
        console.log('held')
        for await (const line of createInterface({ input: process.stdin })) if (line === 'release') break
        db.exec('COMMIT')
        console.log('released')
        process.exit()`,
    },
    path,
  )
