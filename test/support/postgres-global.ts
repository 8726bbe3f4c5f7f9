/**
 * The one Postgres that a test run shares, in Vitest's own process: started when the first test asks for it, so that a run
 * without such tests does not pay, and stopped with the run.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestProject } from 'vitest/node'
import { type PostgresServer, startPostgres } from './postgres-server.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers any request with the server's port, once it runs. */
    readonly sharedPostgres: string
  }
}

export const setup = async (project: TestProject): Promise<() => Promise<void>> => {
  let starting: Promise<PostgresServer> | undefined
  const desk = createServer((_, response) => {
    starting ??= startPostgres()
    starting.then(
      ({ port }) => response.end(String(port)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  await once(desk.listen(0, '127.0.0.1'), 'listening')
  project.provide('sharedPostgres', `http://127.0.0.1:${(desk.address() as AddressInfo).port}`)

  return async () => {
    desk.close()
    desk.closeAllConnections()
    const server = await starting?.catch(() => undefined)
    await server?.[Symbol.asyncDispose]()
  }
}
