/** What an app needs on its broker: planned, made, named where it is missing, and removed. */

import { PabalError } from '../core/errors.ts'
import type { Found, InUse, Resource } from './resource.ts'

/**
 * `create`: it is missing. `change`: it lacks something. `drift`: it is otherwise than it would be made, and stays so. `conflict`:
 * nobody can work with it, and a person has to correct it. `missing`: it is not there, and not pabal's to make.
 */
export type Action = 'create' | 'change' | 'drift' | 'conflict' | 'missing'

export interface Step {
  readonly action: Action
  readonly kind: string
  readonly name: string
  readonly details: readonly string[]
}

/** `keep`: others use it, or it is another context's or a foreign producer's. */
export interface Removal {
  readonly action: 'remove' | 'keep'
  readonly kind: string
  readonly name: string
  readonly details: readonly string[]
  /** That are lost with it. */
  readonly messages: number
}

/** What is not as it would be made, in the order of making. Changes nothing. */
export const planSteps = async (resources: readonly Resource[]): Promise<readonly Step[]> => {
  const steps: Step[] = []
  for (const resource of resources)
    if (resource.make !== undefined || resource.foreign === true)
      steps.push(...stepsOf(resource, await resource.look()))
  return steps
}

const stepsOf = ({ kind, name, foreign, details: given = [] }: Resource, found: Found | undefined): readonly Step[] => {
  if (found === undefined)
    return [
      foreign === true
        ? { action: 'missing', kind, name, details: ["not pabal's to make"] }
        : { action: 'create', kind, name, details: given },
    ]
  const { unfit = [], lacks = [], differs = [] } = found
  const steps: readonly Step[] = [
    { action: 'conflict', kind, name, details: unfit },
    { action: 'change', kind, name, details: lacks },
    { action: 'drift', kind, name, details: differs },
  ]
  return steps.filter(({ details }) => details.length > 0)
}

const isMade = ({ action }: Step): boolean => action === 'create' || action === 'change'
const isForAPerson = ({ action }: Step): boolean => action === 'conflict' || action === 'missing'

/**
 * Makes what is missing and what is lacking; the steps that it took. With a conflict, or something missing that is not pabal's, it
 * makes nothing.
 * @throws PABAL_TRANSPORT_INVALID naming all of those
 */
export const applySteps = async (broker: string, resources: readonly Resource[]): Promise<readonly Step[]> => {
  const steps = await planSteps(resources)
  refuse(broker, steps, isForAPerson)
  await provide(broker, resources, true)
  return steps.filter(isMade)
}

/**
 * For a transport at work: makes what is missing, or with `provision: false` names all of it.
 * @throws PABAL_TRANSPORT_INVALID
 */
export const provide = async (broker: string, resources: readonly Resource[], provision: boolean): Promise<void> => {
  if (provision) for (const resource of resources) await complete(broker, resource)
  else refuse(broker, await planSteps(resources), ({ action }) => action !== 'drift')
}

const complete = async (broker: string, resource: Resource): Promise<void> => {
  if (resource.idempotent !== true) {
    const steps = await planSteps([resource])
    refuse(broker, steps, isForAPerson)
    if (!steps.some(isMade)) return
  }
  await resource.make?.()
}

const refuse = (broker: string, steps: readonly Step[], isWrong: (step: Step) => boolean): void => {
  const wrong = steps.filter(isWrong)
  if (wrong.length === 0) return
  const missing = wrong.some(isMade) ? ". 'pabal topology apply' makes what is missing, or `provision: true`" : ''
  throw new PabalError('PABAL_TRANSPORT_INVALID', `${broker}: ${wrong.map(described).join('; ')}${missing}`)
}

const described = ({ action, kind, name, details }: Step): string => {
  const detail = details.join(', ')
  if (action === 'create' || action === 'missing')
    return `the ${kind} ${name} is missing${detail === '' ? '' : ` (${detail})`}`
  return `the ${kind} ${name} ${action === 'change' ? 'lacks ' : ''}${detail}`
}

/** What would be removed, in that order: only what is there, is this app's, and is used by nobody else. Changes nothing. */
export const planRemovals = async (resources: readonly Resource[]): Promise<readonly Removal[]> =>
  (await removable(resources)).map(({ removal }) => removal)

/**
 * Removes it, and what was removed or kept.
 * @throws PABAL_PLAN_CHANGED when more messages than `messagesMost` would be lost by now
 */
export const applyRemovals = async (
  resources: readonly Resource[],
  messagesMost: number = Number.POSITIVE_INFINITY,
): Promise<readonly Removal[]> => {
  const found = await removable(resources)
  const messages = messagesIn(found.map(({ removal }) => removal))
  if (messages > messagesMost)
    throw new PabalError('PABAL_PLAN_CHANGED', `${messages} messages would be lost, ${messagesMost} were expected`)
  const done: Removal[] = []
  for (const { resource, removal } of found) {
    const isKept = removal.action === 'remove' && (await resource.remove?.()) === 'in use'
    done.push(isKept ? { ...removal, action: 'keep', details: ['used by others'] } : removal)
  }
  return done
}

export const messagesIn = (removals: readonly Removal[]): number =>
  removals.reduce((sum, { action, messages }) => sum + (action === 'remove' ? messages : 0), 0)

const removable = async (resources: readonly Resource[]) => {
  const found: { readonly resource: Resource; readonly removal: Removal }[] = []
  for (const resource of resources.toReversed())
    if ((await resource.look()) !== undefined)
      found.push({ resource, removal: removalOf(resource, (await resource.inUse?.()) ?? {}) })
  return found
}

const removalOf = (resource: Resource, { messages = 0, users = [], unless }: InUse): Removal => {
  const of = { kind: resource.kind, name: resource.name, messages }
  if (resource.remove === undefined)
    return { ...of, action: 'keep', details: [resource.foreign === true ? "not pabal's" : "another context's"] }
  if (users.length > 0) return { ...of, action: 'keep', details: [`used by ${users.join(', ')}`] }
  return { ...of, action: 'remove', details: unless === undefined ? [] : [`unless ${unless}`] }
}
