/** The shop's command line: `npm start`, and `npm start -- --help` for the rest. */

import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import {
  cancel,
  changeAddress,
  type DeskOptions,
  showAddress,
  showOrders,
  showRefused,
  showReport,
  showUnmatched,
} from './desk.ts'
import { givenStore, isPostgres } from './open-databases.ts'
import { exitCodes, tell } from './shop-error.ts'
import { start } from './start.ts'
import { defaultData, defaultPostgresData } from './summary.ts'

interface RootOptions {
  readonly data?: string
  readonly store?: string
  readonly orders?: string
  readonly workers?: number
  readonly exchange?: string
  readonly once?: true
  readonly json?: true
  readonly failKey?: string
  readonly deliveryLatencyMs?: number
  readonly deliveryFailRate?: number
}

const wholeNumber = (text: string): number => {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 0.')
  return Number(text)
}
const workerNumber = (text: string): number => {
  if (!/^[1-8]$/.test(text)) throw new InvalidArgumentError('It must be a number from 1 to 8.')
  return Number(text)
}
const share = (text: string): number => {
  if (!(Number(text) >= 0 && Number(text) <= 1) || text.trim() === '')
    throw new InvalidArgumentError('It must be a number from 0 to 1.')
  return Number(text)
}
const limit = () => new Option('--limit <rows>', 'at most so many rows').argParser(wholeNumber).default(50)

/** Resolves with the exit code. */
async function run(args: readonly string[]): Promise<number> {
  let exitCode: number = exitCodes.ok
  const program = new Command('shop')
  const place = () => {
    const { store = givenStore(), data = isPostgres(store) ? defaultPostgresData : defaultData } =
      program.opts<RootOptions>()
    return { data, store }
  }
  const desk = (): DeskOptions => ({ ...place(), json: program.opts<RootOptions>().json === true })
  const answer = async (code: Promise<number>) => {
    exitCode = await code
  }

  program
    .description('A shop of six contexts, run on real retail orders.')
    .option(
      '--data <folder>',
      `where the shop keeps everything; default: ${defaultData}, with Postgres ${defaultPostgresData}`,
    )
    .option('--store <store>', 'sqlite; postgres: one of its own, from npm; or postgres://…, also as SHOP_STORE')
    .option(
      '--orders <file>',
      'import this retail file (CSV, plain or gzipped), whole; default: the first trading week',
    )
    .addOption(
      new Option('--workers <n>', 'with Postgres: let so many processes, 1 to 8, run the handlers').argParser(
        workerNumber,
      ),
    )
    .option(
      '--exchange <broker>',
      'run half of the contexts in another process, over rabbitmq, kafka, nats, redis or sns-sqs: one of its own, or a URL; two with a comma: delivery over the second',
    )
    .option('--once', 'exit when everything is settled')
    .option('--json', 'print one JSON line of figures (of rows, with a list)')
    .option('--fail-key <invoice>', 'let the shipping of this order fail, to see its key park')
    .addOption(
      new Option('--delivery-latency-ms <ms>', 'how slow the external delivery service is').argParser(wholeNumber),
    )
    .addOption(new Option('--delivery-fail-rate <share>', 'share of its requests that fails, 0 to 1').argParser(share))
    .addHelpText('after', exitCodeHelp)
    .allowExcessArguments(false)
    .configureOutput({
      outputError: (text, write) =>
        write(
          `${text
            .trim()
            .replace(/^error: /, 'SHOP_USAGE: ')
            .replaceAll('\n', ' ')}\n  remedy: See \`npm start -- --help\`.\n`,
        ),
    })
    .exitOverride()
    .action(async () => {
      const { once = false, json = false, exchange: brokers, ...options } = program.opts<RootOptions>()
      await answer(start({ ...options, ...place(), brokers, once, json }))
    })
  program
    .command('orders')
    .description('list orders, the latest first')
    .option('--customer <id>', 'only of this customer')
    .addOption(limit())
    .action((filter: { customer?: string; limit: number }) => answer(showOrders(desk(), filter)))
  program
    .command('refused')
    .description('list invoices that became neither an order nor a return')
    .addOption(
      new Option('--reason <reason>').choices([
        'no-customer',
        'return-without-customer',
        'no-valid-line',
        'adjustment',
        'bad-row',
      ]),
    )
    .addOption(limit())
    .action((filter: { reason?: string; limit: number }) => answer(showRefused(desk(), filter)))
  program
    .command('unmatched')
    .description('list what was returned and no earlier order covers')
    .addOption(limit())
    .action((filter: { limit: number }) => answer(showUnmatched(desk(), filter)))
  program
    .command('report')
    .description('orders, units, revenue and refunds')
    .addOption(new Option('--by <what>').choices(['day', 'country']).default('day'))
    .action(({ by }: { by: 'day' | 'country' }) => answer(showReport(desk(), by)))
  program
    .command('cancel')
    .description('cancel an order for its customer')
    .argument('<invoice>')
    .action((invoice: string) => answer(cancel(desk(), invoice)))
  program
    .command('address')
    .description("change an order's delivery address; without a text, ask the delivery service for it")
    .argument('<invoice>')
    .argument('[text]')
    .action((invoice: string, text: string | undefined) =>
      answer(text === undefined ? showAddress(desk(), invoice) : changeAddress(desk(), invoice, text)),
    )

  await program.parseAsync(args, { from: 'user' })
  return exitCode
}

const exitCodeHelp = `
Exit codes:
  0    done; parked keys are in the figures (deadLetters) and change no exit code
  1    failed, or the file could not be read to its end: what came before is kept and settled
  2    the command line is not understood, or the folder's shop is on another store
  3    a database cannot be reached or opened, is locked or read-only
  130  interrupted before everything was settled (with --once); run it again to go on`

try {
  process.exitCode = await run(process.argv.slice(2))
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  else {
    const { text, exitCode } = tell(error)
    process.stderr.write(`${text}\n`)
    process.exitCode = exitCode
  }
}
