/** Payload schemas: any Standard Schema validator (zod, valibot, arktype, …) whose values are JSON on both sides. */

import type { StandardSchemaV1 } from '@standard-schema/spec'
import { PabalError } from '../core/errors.ts'

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json | undefined }

/** JSON on both sides: a date is an ISO string, money an integer. `z.date()` does not compile. */
export type JsonSchema = StandardSchemaV1<Json, Json>

export type Output<S extends StandardSchemaV1> = StandardSchemaV1.InferOutput<S>
export type Input<S extends StandardSchemaV1> = StandardSchemaV1.InferInput<S>

const steps = (issue: StandardSchemaV1.Issue): PropertyKey[] =>
  (issue.path ?? []).map((part) => (typeof part === 'object' ? part.key : part))
const path = (issue: StandardSchemaV1.Issue): string => steps(issue).map(String).join('.')

const valueAt = (input: unknown, issue: StandardSchemaV1.Issue): unknown =>
  steps(issue).reduce<unknown>(
    (value, step) => (value as Record<PropertyKey, unknown> | null | undefined)?.[step],
    input,
  )

// Some validators quote what they were given ('but received "…"', '(was "…")', 'age (7) must be'), transformed or as it came.
const quotation = /[:,]?(?: but)? received [^]*$| \(was [^]*\)/i
const rule = (issue: StandardSchemaV1.Issue, input: unknown): string => {
  const message = issue.message.replace(quotation, '')
  const value = valueAt(input, issue)
  if (typeof value === 'number') return message.replaceAll(`(${value})`, '(…)')
  if (typeof value !== 'string') return message
  // A word of one or two letters may stand in the message by itself.
  return message.replaceAll(value.length < 4 ? JSON.stringify(value) : value, '…')
}

/**
 * The schema's output for a value. The message names the paths that do not fit, never the values: they may be private.
 * @throws PABAL_PAYLOAD_INVALID, PABAL_SCHEMA_ASYNC
 */
export const parseWith = (schema: StandardSchemaV1, value: unknown, what: string): unknown => {
  const result = schema['~standard'].validate(value)
  if ('then' in result) {
    // Nobody waits for it, and a rejection that nobody handles would end the process.
    result.then(undefined, () => {})
    throw new PabalError('PABAL_SCHEMA_ASYNC', `the schema of ${what} is asynchronous`)
  }
  if (result.issues === undefined) return result.value
  const details = result.issues.slice(0, 5).map((issue) => `${path(issue) || '(root)'}: ${rule(issue, value)}`)
  throw new PabalError('PABAL_PAYLOAD_INVALID', `${what}: ${details.join('; ')}`, {
    context: { paths: result.issues.map(path) },
  })
}

export const isStandardSchema = (value: unknown): value is StandardSchemaV1 =>
  (typeof value === 'object' || typeof value === 'function') && value !== null && '~standard' in value
