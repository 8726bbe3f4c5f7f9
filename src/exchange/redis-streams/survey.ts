/** What a server says of itself, and what an operator should know of it before it carries events. */

import { PabalError } from '../../core/errors.ts'
import type { Connection } from './connection.ts'
import { isUnreachable } from './failure.ts'

const risk = 'Redis may lose what is published'

/** Reaches the server. @throws PABAL_TRANSPORT_UNREACHABLE, PABAL_TRANSPORT_INVALID for one that is too old */
export const survey = async (connection: Connection, warn: (what: string, error: unknown) => void): Promise<void> => {
  const facts = await read(connection)
  const version = facts.get('redis_version')
  if (version !== undefined && isBefore(version, 6, 2))
    throw new PabalError('PABAL_TRANSPORT_INVALID', `the server is Redis ${version}, 6.2 or later is needed`)
  if (facts.get('aof_enabled') === '0')
    warn(risk, new Error('the server keeps no append-only file: set appendonly yes, and appendfsync always'))
  const policy = facts.get('maxmemory_policy') ?? ''
  if (facts.get('maxmemory') !== '0' && policy.startsWith('allkeys'))
    warn(risk, new Error(`maxmemory-policy ${policy} may evict streams when the server is full: set noeviction`))
}

const read = async (connection: Connection): Promise<ReadonlyMap<string, string>> => {
  try {
    const text = String(await connection.command('INFO', []))
    return new Map(text.split(/\r?\n/).map((line) => line.split(':', 2) as [string, string]))
  } catch (error) {
    if (isUnreachable(error)) throw error
    // To ask is a right that it need not have; what is needed shows when it is used.
    return new Map()
  }
}

const isBefore = (version: string, major: number, minor: number): boolean => {
  const [first = 0, second = 0] = version.split('.').map(Number)
  return first < major || (first === major && second < minor)
}
