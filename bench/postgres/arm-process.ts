/**
 * An arm's process, from the bench's side. Each arm has one of its own: a library that sets parsers for the whole process, or
 * leaves a timer, changes its own figures only.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { ArmName } from './arms.ts'
import type { Answer, Request } from './host.ts'
import type { JobName, Jobs } from './jobs.ts'

export class ArmProcess implements AsyncDisposable {
  readonly #child: ChildProcess

  constructor(arm: ArmName) {
    this.#child = fork(join(import.meta.dirname, 'host.ts'), [arm], {
      // What libraries warn of is theirs.
      execArgv: ['--conditions=pabal-source', '--expose-gc', '--no-warnings'],
    })
  }

  /** One at a time. */
  async do<Name extends JobName>(
    job: Name,
    ...given: Parameters<Jobs[Name]>
  ): Promise<Awaited<ReturnType<Jobs[Name]>>> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new Error('its process has ended')
    const ended = new AbortController()
    try {
      const answered = once(this.#child, 'message', ended)
      const exited = once(this.#child, 'exit', ended).then(([code]) => {
        throw new Error(`its process ended with ${String(code)}`)
      })
      this.#child.send({ job, given } satisfies Request)
      const [answer] = (await Promise.race([answered, exited])) as [Answer]
      if ('failed' in answer) throw new Error(answer.failed)
      return answer.value as Awaited<ReturnType<Jobs[Name]>>
    } finally {
      ended.abort()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    if (this.#child.connected) this.#child.disconnect()
    const patience = setTimeout(() => this.#child.kill('SIGKILL'), 5_000)
    await exited
    clearTimeout(patience)
  }
}
