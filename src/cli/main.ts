#!/usr/bin/env node
/** The `pabal` command: sees and operates an app, also while it runs in another process. */

import { CommanderError } from 'commander'
import { PabalError } from '../core/errors.ts'
import { type Invocation, isColored, type GlobalOptions } from './invocation.ts'
import { createPalette } from './output/text.ts'
import { report, usageOf } from './problem.ts'
import { createProgram } from './program.ts'

// `pabal log list | head` is no mistake: whoever reads has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

let running: Invocation | undefined

/** Loading a configuration and opening its app may keep handles open, so the end is explicit; what was written is flushed first. */
const exit = async (code: number): Promise<never> => {
  await Promise.all(
    [process.stdout, process.stderr].map((stream) => new Promise<void>((resolve) => stream.write('', () => resolve()))),
  )
  process.exit(code)
}

const failed = (error: unknown): number => {
  const known: Partial<GlobalOptions> = running?.options ?? program.opts<GlobalOptions>()
  const format = known.output ?? 'text'
  return report(error, { format, paint: createPalette(isColored({ color: known.color ?? 'auto' })) })
}

const program = createProgram(async (invocation, run) => {
  running = invocation
  const { timeoutMs } = invocation
  if (timeoutMs !== undefined)
    setTimeout(() => {
      const error = new PabalError('PABAL_COMMAND_TIMEOUT', `after ${timeoutMs} ms`)
      void exit(failed(error))
    }, timeoutMs)
  return run(invocation)
})

try {
  await program.parseAsync(process.argv)
  await running?.close()
  await exit(Number(process.exitCode ?? 0))
} catch (error) {
  // Help that was asked for, and help because nothing was: it is printed already.
  if (error instanceof CommanderError && (error.exitCode === 0 || error.code === 'commander.help'))
    await exit(error.exitCode === 0 ? 0 : 2)
  const code = failed(error instanceof CommanderError ? usageOf(error) : error)
  await running?.close().catch(() => undefined)
  await exit(code)
}
