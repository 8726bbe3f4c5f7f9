/** What `npm start` prints at the end: what became of the orders, and where to look. */

import { relative } from 'node:path'
import { styleText } from 'node:util'
import type { Figures } from './figures.ts'
import { pounds } from './money.ts'

export interface SummaryOptions {
  readonly seconds: number
  readonly data: string
  /** The shop stays open. */
  readonly isRunning: boolean
}

export const defaultData = '.data/shop'

const bold = (text: string) => styleText('bold', text, { stream: process.stdout })
const dim = (text: string) => styleText('dim', text, { stream: process.stdout })
const number = (value: number) => value.toLocaleString('en-GB')

export function summaryOf(figures: Figures, { seconds, data, isRunning }: SummaryOptions): string {
  const folder = relative('.', data) || '.'
  const isDefault = folder === defaultData
  const lines = [
    '',
    `  ${bold('pabal · shop')}   everything handled in ${seconds.toFixed(1)} s`,
    '',
    ...outcomes(figures, folder).map(
      ([what, count, rest]) => `  ${what.padEnd(8)} ${bold(number(count).padStart(9))}   ${rest}`,
    ),
    '',
    ...section('look', look(isDefault ? '' : `SHOP_DATA=${folder} `, isDefault ? '' : ` --data ${folder}`, figures)),
    ...(isRunning ? section('try, in another terminal', attempts(isDefault ? '' : ` --data ${folder}`)) : []),
    ...(isRunning ? [`  The shop is open. Ctrl+C closes it; everything is kept in ${folder}.`, ''] : []),
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
      : [['parked', figures.deadLetters, 'keys wait for a person; everything else went on'] as const]),
  ]
}

type Hint = readonly [command: string, what: string]

function look(environment: string, folder: string, { deadLetters, returnsUnmatched }: Figures): Hint[] {
  const pabal = `${environment}npm run -s pabal --`
  return [
    ...(deadLetters === 0
      ? []
      : ([
          [`${pabal} dead list`, 'what failed, and what waits behind it'],
          [`${pabal} dead retry --all --yes`, 'once the reason is gone'],
        ] as const)),
    [`${pabal} status`, 'every consumer, and how far it is'],
    [`${pabal} log list`, 'what happened; `log tail` follows it'],
    [`${pabal} trace <id>`, 'one event, from its cause to its effects'],
    [`npm start --${folder} report`, 'sales by day; `report --by country`'],
    [
      `npm start --${folder} ${returnsUnmatched > 0 ? 'unmatched' : 'refused'}`,
      'also `orders`, `refused`, `unmatched`',
    ],
  ]
}

const attempts = (folder: string): Hint[] => [
  [`npm start --${folder} cancel 536366`, 'refunded once, stock released, shipment recalled'],
  [`npm start --${folder} address 536367 "1 Jongno, Seoul"`, 'told to a delivery service of others'],
  ['npm start -- --data .data/broken --fail-key 536368', 'one order fails: its key parks, all else flows'],
]

function section(title: string, hints: readonly Hint[]): string[] {
  const width = Math.max(...hints.map(([command]) => command.length))
  return [`  ${bold(title)}`, ...hints.map(([command, what]) => `    ${command.padEnd(width)}   ${dim(what)}`), '']
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
