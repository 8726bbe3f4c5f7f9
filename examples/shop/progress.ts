/** How far an import is: a bar where a person looks, one plain line where not. Always on stderr: stdout is for data. */

import { SingleBar } from 'cli-progress'
import type { ImportProgress } from './import-orders.ts'

export interface Progress {
  show(progress: ImportProgress): void
  end(): void
}

const millisecondsPerDay = 86_400_000

/** `days`: the first and last one, if only these are imported; the size of the file says nothing then. */
export function createProgress(what: string, days?: readonly [first: string, last: string]): Progress {
  const { stderr } = process
  if (!stderr.isTTY) {
    stderr.write(`importing ${what} …\n`)
    return { show() {}, end() {} }
  }
  const bar = new SingleBar({
    stream: stderr,
    format: '  importing  {bar}  {percentage} %   {invoices} invoices   {day}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 32,
    hideCursor: true,
    clearOnComplete: true,
    // Signals are the shop's to handle.
    gracefulExit: false,
  })
  bar.start(1_000, 0, { invoices: 0, day: '' })
  return {
    show(progress) {
      bar.update(Math.round(1_000 * shareOf(progress, days)), { invoices: progress.invoices, day: progress.day })
    },
    end: () => bar.stop(),
  }
}

function shareOf({ readBytes, fileBytes, day }: ImportProgress, days?: readonly [string, string]): number {
  if (days === undefined) return fileBytes === 0 ? 1 : Math.min(1, readBytes / fileBytes)
  if (day === '') return 0
  const [first, now, last] = [days[0], day, days[1]].map((text) => Date.parse(text) / millisecondsPerDay) as [
    number,
    number,
    number,
  ]
  return Math.max(0, Math.min(1, (now - first + 1) / (last - first + 1)))
}
