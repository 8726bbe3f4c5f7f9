/** The emulated SNS and SQS as a program: `sns-sqs-process.ts <port> <data folder>`. */

import { type ListenOptions, Server } from 'node:net'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { startFauxqs } from 'fauxqs'

const [port, dataDir = ''] = process.argv.slice(2)

// fauxqs listens on every network that the machine is in, and has no setting for it.
const prototype = Server.prototype as unknown as { listen: (this: Server, options: ListenOptions) => Server }
const { listen } = prototype
prototype.listen = function (options) {
  return listen.call(this, { ...options, host: '127.0.0.1' })
}

// A message that is given back gets NULL there as the number of its receives, which the column refuses: the message was gone
// until the next start, and everything of its group stayed behind it.
const counted = 'approximate_receive_count = ?,'
const statements = DatabaseSync.prototype as unknown as {
  prepare: (this: DatabaseSync, sql: string) => StatementSync
}
const { prepare } = statements
statements.prepare = function (sql) {
  return prepare.call(this, sql.replace(counted, 'approximate_receive_count = coalesce(?, approximate_receive_count),'))
}

const server = await startFauxqs({ port: Number(port), logger: false, dataDir })
process.once('SIGTERM', () => {
  void server.stop().then(() => process.exit())
})
