/** The emulated SNS and SQS as a program: `sns-sqs-process.ts <port> <data folder>`. */

import { type ListenOptions, Server } from 'node:net'
import { startFauxqs } from 'fauxqs'

const [port, dataDir = ''] = process.argv.slice(2)

// fauxqs listens on every network that the machine is in, and has no setting for it.
const prototype = Server.prototype as unknown as { listen: (this: Server, options: ListenOptions) => Server }
const { listen } = prototype
prototype.listen = function (options) {
  return listen.call(this, { ...options, host: '127.0.0.1' })
}

const server = await startFauxqs({ port: Number(port), logger: false, dataDir })
process.once('SIGTERM', () => {
  void server.stop().then(() => process.exit())
})
