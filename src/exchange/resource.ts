/**
 * PORT of what stands on a broker: one thing that an app needs there, looked at, made and removed by itself. Adapters name theirs;
 * what is done with them stands once, in `topology.ts`.
 */

export interface Resource {
  /** The broker's own word: `topic`, `queue`, `stream`. */
  readonly kind: string
  readonly name: string
  /** What it would be made with, as far as somebody who makes it by hand has to know. */
  readonly details?: readonly string[]
  /** Undefined: it is not there. Changes nothing. */
  readonly look: () => Promise<Found | undefined>
  /** Makes it, or what it lacks; another process may be faster. Absent: it comes by itself when it is used. */
  readonly make?: () => Promise<void>
  /** `make` finds out by itself what is there, more than a look may show: it is called without looking, and again each time. */
  readonly idempotent?: true
  /** It is not pabal's: it has to be there, has no `make`, and no `remove`. */
  readonly foreign?: true
  /** Absent: it is another context's. Who needs it makes it where it is missing, and leaves it there. */
  readonly remove?: () => Promise<void | 'in use'>
  /** What is lost with it. Absent: nothing. */
  readonly inUse?: () => Promise<InUse>
}

/** How it is; each in a few words. */
export interface Found {
  /** What `make` adds. */
  readonly lacks?: readonly string[]
  /** What is otherwise than `make` would have it. It works, and stays as it is. */
  readonly differs?: readonly string[]
  /** What does not work, and is left to a person: correcting it would cost somebody something. */
  readonly unfit?: readonly string[]
}

export interface InUse {
  /** That are there for those who have not taken them. */
  readonly messages?: number
  /** Who gets messages from it, and would not any more. It is not removed then. */
  readonly users?: readonly string[]
  /** Where the broker does not name them and `remove` itself finds out: what they would be. */
  readonly unless?: string
}

/** Resources and data of a configuration of Terraform, in its JSON: by type, then by label. */
export interface Terraform {
  readonly data?: TerraformBlocks
  readonly resource: TerraformBlocks
}

export type TerraformBlocks = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>>
