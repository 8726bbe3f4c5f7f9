/** One command of the house, run on the pinned tools, with its name and its time printed. */
import { spawnSync } from 'node:child_process'

export interface Step {
  readonly name: string
  /** A tool from `node_modules/.bin`, which the npm scripts put on PATH. */
  readonly command: string
  readonly args: readonly string[]
}

/** The whole tree must compile: `@ts-expect-error` carries what must not. */
export const types: Step = { name: 'types', command: 'tsc', args: ['-p', 'tsconfig.json'] }

/** `isolatedDeclarations` holds for the library alone, so only its own build sees a missing annotation. */
export const declarations: Step = {
  name: 'declarations',
  command: 'tsc',
  args: ['-p', 'tsconfig.build.json', '--noEmit'],
}

export function run({ name, command, args }: Step): boolean {
  console.log(`\n> ${name}: ${command} ${args.join(' ')}`)
  const startedAt = performance.now()
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' })
  if (error) console.error(`${command} did not start: ${error.message}`)
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  console.log(`${name}: ${status === 0 ? 'ok' : 'FAILED'} in ${seconds} s`)
  return status === 0
}
