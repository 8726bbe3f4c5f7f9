/** What `npm start` prints at the end: what became of the orders, and where to look. */

import { resolve } from 'node:path'
import { styleText } from 'node:util'
import type { Examples, Figures } from './figures.ts'
import { pounds } from './money.ts'
import { givenStore } from './open-databases.ts'

export interface SummaryOptions {
  readonly seconds: number
  readonly data: string
  /** Where the databases are, if the folder does not keep how to get there. */
  readonly notKept: string | undefined
  /** It is in two halves, with this between them. */
  readonly over: string | undefined
  /** The shop stays open. */
  readonly isRunning: boolean
  readonly examples: Examples | undefined
}

export const defaultData = '.data/shop'
/** Apart, so that one may have both. */
export const defaultPostgresData = '.data/shop-postgres'

const bold = (text: string) => styleText('bold', text, { stream: process.stdout })
const dim = (text: string) => styleText('dim', text, { stream: process.stdout })
const number = (value: number) => value.toLocaleString('en-GB')

export function summaryOf(figures: Figures, options: SummaryOptions): string {
  const { seconds, data, notKept, over, isRunning, examples } = options
  const isDefault = resolve(data) === resolve(defaultData)
  const pabal = `${isDefault ? '' : `SHOP_DATA=${data} `}npm run -s pabal --`
  const shop = `npm start --${isDefault ? '' : ` --data ${data}`}`
  const lines = [
    '',
    `  ${bold('pabal · shop')}   everything handled in ${seconds.toFixed(1)} s${over === undefined ? '' : `, by two processes over ${over}`}`,
    '',
    ...outcomes(figures, data).map(([what, count, rest]) =>
      `  ${what.padEnd(8)} ${bold(number(count).padStart(9))}   ${rest}`.trimEnd(),
    ),
    '',
    ...(figures.deadLetters > 0 ? section('what needs you', halvesOf(pabal, over).flatMap(repair)) : []),
    ...section('where to look', [...keys(notKept), ...look(halvesOf(pabal, over), examples), ...lists(shop)]),
    ...(isRunning ? section('what to try, in another terminal', attempts(shop, examples)) : []),
    ...(isRunning
      ? [
          `  The shop is open. Ctrl+C closes it; everything is kept in ${notKept === undefined ? '' : `${notKept} and `}${data}.`,
          '',
        ]
      : []),
  ]
  return `${lines.join('\n')}\n`
}

type Outcome = readonly [what: string, count: number, rest: string]

function outcomes(figures: Figures, folder: string): Outcome[] {
  const refused = Object.entries(figures.refused).filter(([, count]) => count > 0)
  const { orders, units, revenuePence, shipped, declined, returns, returnsUnmatched, refundedPence } = figures
  return [
    ['orders', orders, `${number(units)} units for ${pounds(revenuePence)}`],
    ['shipped', shipped, declined === 0 ? '' : `${number(declined)} declined: cancelled, their stock released`],
    [
      'returns',
      returns,
      `${pounds(refundedPence)} refunded; ${number(returnsUnmatched)} not covered by earlier orders`,
    ],
    [
      'refused',
      sum(refused.map(([, count]) => count)),
      refused.map(([reason, count]) => `${number(count)} ${reason}`).join(', '),
    ],
    ['notified', figures.notifications, `messages in ${folder}/notifications.jsonl`],
    ['logged', figures.events, 'events in the six logs'],
    ...(figures.deadLetters === 0
      ? []
      : [
          [
            'parked',
            figures.deadLetters,
            figures.deadLetters === 1
              ? 'key waits for a person; all others went on'
              : 'keys wait for a person; all others went on',
          ] as const,
        ]),
  ]
}

type Hint = readonly [command: string, what: string]

const repair = (pabal: string): Hint[] => [
  [`${pabal} dead list`, 'what failed, and what waits behind it'],
  [`${pabal} dead retry --all --yes`, 'handle it again, once the reason is gone'],
]

/** A half is looked at by itself, as a service of its own would be. */
const halvesOf = (pabal: string, over: string | undefined): string[] =>
  over === undefined ? [pabal] : [pabal, `SHOP_HALF=back ${pabal}`]

const look = ([pabal = '', other]: string[], examples: Examples | undefined): Hint[] => [
  [`${pabal} status`, 'every consumer, and how far it is'],
  ...(other === undefined ? [] : ([[`${other} status`, 'the same of the other half']] as const)),
  ...(examples === undefined
    ? []
    : ([
        [`${pabal} log list --key ${examples.orderIds[0]}`, 'what happened to one order'],
        [`${pabal} trace ${examples.eventId}`, 'the same, from cause to effects'],
      ] as const)),
  [`${pabal} log tail`, 'what happens from now on'],
]

/** Unless the environment has it: what follows runs in it. */
const keys = (notKept: string | undefined): Hint[] =>
  notKept === undefined || givenStore() !== undefined
    ? []
    : [[`export SHOP_STORE=${notKept}`, 'first, with user and password: the shop keeps neither']]

const lists = (shop: string): Hint[] => [
  [`${shop} report`, 'sales by day, or `report --by country`'],
  [`${shop} unmatched`, 'also `orders` and `refused`'],
]

const attempts = (shop: string, examples: Examples | undefined): Hint[] => [
  ...(examples === undefined
    ? []
    : ([
        [`${shop} cancel ${examples.orderIds[0]}`, 'refunded once, stock released, shipment recalled'],
        [`${shop} address ${examples.orderIds[1]} "1 Jongno, Seoul"`, 'told to the delivery service of somebody else'],
      ] as const)),
  ['npm start -- --data .data/broken --fail-key 536368', 'one order fails: its key parks, all else flows'],
]

function section(title: string, hints: readonly Hint[]): string[] {
  const width = Math.max(...hints.map(([command]) => command.length))
  return [`  ${bold(title)}`, ...hints.map(([command, what]) => `    ${command.padEnd(width)}   ${dim(what)}`), '']
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
