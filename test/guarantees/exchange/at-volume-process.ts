/** One process of the run at volume, over a real broker: `at-volume-process.ts <part as JSON> <transport> <url>`. */

import { play, type Part } from './at-volume-part.ts'
import { isTransport, transports } from './transports.ts'

const [part, name, url] = process.argv.slice(2)
if (!isTransport(name!)) throw new Error(`there is no transport ${name}`)

await play(JSON.parse(part!) as Part, await transports[name](url!), {
  commands: process.stdin,
  say: (line) => void process.stdout.write(`${line}\n`),
  die: () => process.kill(process.pid, 'SIGKILL'),
})
process.exit(0)
