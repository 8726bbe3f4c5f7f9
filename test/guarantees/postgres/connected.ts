/** A connection of the test's own. */

import { Client, type ClientConfig } from 'pg'
import { onTestFinished } from 'vitest'

/** Ended with the test; that the server ends it first is no error. */
export const connected = async (url: string, config: ClientConfig = {}): Promise<Client> => {
  const client = new Client({ connectionString: url, ...config })
  client.on('error', () => {})
  await client.connect()
  onTestFinished(async () => {
    await client.end().catch(() => {})
  })
  return client
}
