/** Who holds a lease: a process, by the connection that it keeps to the server. */

import { randomUUID } from 'node:crypto'

/** Names the connection to the server; the owner of leases is its name. */
export const newOwner = (): string => `pabal:${randomUUID().slice(0, 18)}`

/** Behind a pooler no connection is a process's own, so nothing says that it is gone. */
export const newPooledOwner = (): string => `pooled:${randomUUID().slice(0, 18)}`

/**
 * True when the owner's connection is not there, so that its lease need not run out: a killed process loses it at once, a frozen
 * one keeps it. Only a shortcut: a wrong answer costs nothing but work, because the epoch fences.
 */
export const goneSql = (owner: string): string =>
  `(${owner} LIKE 'pabal:%' AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.application_name = ${owner}))`
