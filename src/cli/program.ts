/** Commands by nouns, and the options that all of them take. */

import { readFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import { consumerCommands } from './consumer.ts'
import { databaseCommands } from './db.ts'
import { deadCommands } from './dead.ts'
import { doctorCommand } from './doctor.ts'
import { explainCommand } from './explain.ts'
import { type GlobalOptions, Invocation } from './invocation.ts'
import { logCommands } from './log.ts'
import { formats } from './output/output.ts'
import { refusedCommands } from './refused.ts'
import { statusCommand } from './status.ts'
import { topologyCommands } from './topology.ts'
import { traceCommand } from './trace.ts'

/** Runs a command with its invocation; what it returns is the exit code, 0 when nothing. */
export type Run = (invocation: Invocation) => Promise<number | void>
export type Runner = (invocation: Invocation, run: Run) => Promise<number | void>

/** Makes the function that commander calls from one that is given the invocation first. */
export type Act = <Args extends unknown[]>(
  run: (invocation: Invocation, ...args: Args) => Promise<number | void>,
) => (...given: [...Args, Command]) => Promise<void>

const version = (): string =>
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version

export const createProgram = (runner: Runner): Command => {
  const act: Act =
    (run) =>
    async (...given) => {
      const command = given.at(-1) as Command
      const args = given.slice(0, -1) as Parameters<typeof run> extends [unknown, ...infer A] ? A : never
      const invocation = new Invocation(command.optsWithGlobals<GlobalOptions>())
      const code = await runner(invocation, (started) => run(started, ...(args as never)))
      if (typeof code === 'number') process.exitCode = code
    }
  const program = new Command('pabal')
    .description('Sees and operates an app of pabal, also while it runs in another process on the same databases.')
    .version(version())
    .addOption(new Option('-o, --output <format>', 'format of stdout').choices(formats).default('text'))
    .option('--config <file>', 'what exports the app (default: pabal.config.ts, .mts, .js or .mjs here or above)')
    .addOption(new Option('--color <when>', 'colours').choices(['always', 'never', 'auto']).default('auto'))
    .addOption(
      new Option('--time-format <format>', 'points in time').choices(['relative', 'iso', 'raw']).default('relative'),
    )
    .option('--timeout <time>', 'give up after this time, such as 10s')
    .option('--yes', 'do what the plan says')
    .option('--by <name>', 'who does it (default: the user of the operating system)')
    .option('--reason <text>', 'why; kept in the log')
    .showSuggestionAfterError()
    .configureOutput({ outputError: () => {} })
    .exitOverride()
  for (const command of [
    statusCommand(act),
    logCommands(act),
    traceCommand(act),
    consumerCommands(act),
    deadCommands(act),
    refusedCommands(act),
    databaseCommands(act),
    topologyCommands(act),
    doctorCommand(act),
    explainCommand(act),
  ])
    program.addCommand(inherit(command, program))
  return program.addHelpText(
    'after',
    '\nExit codes: 0 ok, 1 failed, 2 usage or confirmation needed, 3 unreachable, 4 a check found a problem.',
  )
}

const inherit = (command: Command, parent: Command): Command => {
  command.copyInheritedSettings(parent)
  for (const child of command.commands) inherit(child, parent)
  return command
}
