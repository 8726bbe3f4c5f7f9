/** Who holds a lease: a process of this host. SQLite lives on one host, so a dead owner can be told from a slow one. */

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'

/** Field 22 of /proc/<pid>/stat, start time in ticks since boot: tells a reused pid. Empty where there is no /proc. */
const startOf = (pid: number): string => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM'
  }
}

export const newOwner = (): string => `${hostname()}:${process.pid}:${startOf(process.pid)}:${randomUUID().slice(0, 8)}`

/**
 * True when the owner is certainly gone, so that its lease need not run out. Only a shortcut: a wrong answer costs nothing but
 * work, because the epoch fences.
 */
export const isGone = (owner: string): boolean => {
  const [host, pidText, start] = owner.split(':')
  const pid = Number(pidText)
  if (host !== hostname() || !Number.isInteger(pid) || pid <= 0) return false
  return !isAlive(pid) || (start !== '' && startOf(pid) !== start)
}
