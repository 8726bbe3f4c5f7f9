/** An arm's process: `node host.ts <arm>` does the jobs that the bench sends it, one after the other. */

import { armNamed, type ArmName } from './arms.ts'
import { Jobs } from './jobs.ts'

export interface Request {
  readonly job: string
  readonly given: readonly unknown[]
}
/** A failure is told in words: errors do not survive the way. */
export type Answer = { readonly value: unknown } | { readonly failed: string }

const name = process.argv[2] as ArmName
const loading = armNamed(name).then((arm) => new Jobs(arm))
loading.catch(() => {})

const answer = async ({ job, given }: Request): Promise<Answer> => {
  try {
    const jobs = (await loading) as unknown as Record<string, (...values: readonly unknown[]) => Promise<unknown>>
    return { value: await jobs[job]!(...given) }
  } catch (error) {
    process.stderr.write(`${name}, ${job}: ${error instanceof Error ? error.stack : String(error)}\n`)
    return { failed: String(error).split('\n')[0]! }
  }
}

process.on('message', (request) => void answer(request as Request).then((told) => process.send!(told)))
process.on('disconnect', () => process.exit())
