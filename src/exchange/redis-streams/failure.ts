/** What a Redis server or its connection says, as the errors of pabal. Never with the commands' arguments: those are payloads. */

import { PabalError } from '../../core/errors.ts'

const lengthMax = 300

/** The first code of an answer; scripts and transactions wrap it in words of their own. */
const answers: readonly { readonly says: RegExp; readonly means: (said: string) => Error }[] = [
  {
    says: /\b(?:WRONGPASS|NOAUTH)\b|invalid password/,
    means: (said) => unreachable(`the server lets nobody in by this user and password: ${said}`),
  },
  {
    says: /\bNOPERM\b/,
    means: (said) => new PabalError('PABAL_TRANSPORT_INVALID', `the user lacks a right: ${said}`),
  },
  {
    says: /\bWRONGTYPE\b/,
    means: () =>
      new PabalError('PABAL_TRANSPORT_INVALID', 'a key with the name that is needed is there, and is no stream'),
  },
  {
    says: /\bNOGROUP\b|requires the key to exist|no such key/,
    means: () => new PabalError('PABAL_TRANSPORT_INVALID', 'the stream or its group is missing'),
  },
  {
    says: /unknown (?:sub)?command/i,
    means: () =>
      new PabalError('PABAL_TRANSPORT_INVALID', 'the server lacks a command: Redis 6.2 or later is needed, or Valkey'),
  },
  {
    says: /\b(?:LOADING|MASTERDOWN|CLUSTERDOWN|READONLY|BUSY|TRYAGAIN|NOREPLICAS)\b/,
    means: (said) => unreachable(`the server does not serve now: ${said}`),
  },
]

/** An error of a client. What the server says has a code in capitals; all else is the connection's. */
export const explained = (error: unknown, place: string): Error => {
  if (error instanceof PabalError) return error
  const before = (error as { previousErrors?: readonly unknown[] } | null)?.previousErrors?.[0]
  const said = short(before ?? error)
  const answer = answers.find(({ says }) => says.test(said))
  if (answer !== undefined) return located(answer.means(said), place)
  // A new one: the client's own holds the command, and so the payloads.
  if (/^(?:-?[A-Z]{3,} )/.test(said)) return new Error(`${place} answers: ${said}`)
  return unreachable(`${place}: ${said}`)
}

export const unreachable = (detail: string): PabalError => new PabalError('PABAL_TRANSPORT_UNREACHABLE', detail)

export const isInvalid = (error: unknown): boolean =>
  error instanceof PabalError && error.code === 'PABAL_TRANSPORT_INVALID'

export const isUnreachable = (error: unknown): boolean =>
  error instanceof PabalError && error.code === 'PABAL_TRANSPORT_UNREACHABLE'

const located = (error: Error, place: string): Error =>
  error instanceof PabalError ? new PabalError(error.code, `${place}: ${detailOf(error)}`) : error

const detailOf = ({ message, code }: PabalError): string => message.slice(code.length + 2)

const short = (error: unknown): string => {
  const text = error instanceof Error ? error.message || error.name : String(error)
  return text.length > lengthMax ? `${text.slice(0, lengthMax)}…` : text
}
