/**
 * A suite that needs a real server carries the reason for its absence in its title, where the summary of `npm test` reads it.
 *
 *     const missing = missingExecutable('redis-server')
 *     describe.skipIf(missing)(titled('the Redis transport', missing), () => { … })
 */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** The reason to skip, or undefined where `name` stands on PATH. */
export function missingExecutable(name: string): string | undefined {
  const found = (process.env['PATH'] ?? '').split(delimiter).some((folder) => isExecutable(join(folder, name)))
  return found ? undefined : `${name} is not installed`
}

export function titled(title: string, missing: string | undefined): string {
  return missing === undefined ? title : `${title} (skipped: ${missing})`
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
