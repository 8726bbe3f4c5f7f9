/** What an app needs on its broker. Only the broker is asked: no database has to be there, and nothing of it is in a log. */

import type { App } from '../app/app.ts'
import { needsOf } from '../app/composition.ts'
import { PabalError } from '../core/errors.ts'
import type { Carried } from '../exchange/exchange.ts'
import type { Resource, Terraform, TerraformBlocks } from '../exchange/resource.ts'
import {
  type Action,
  applyRemovals,
  applySteps,
  messagesIn,
  planRemovals,
  planSteps,
  type Removal,
  type Step,
} from '../exchange/topology.ts'

export type { Action, Removal, Step, Terraform }

/** Over which transport. */
interface Over {
  readonly transport: string
}

export interface Topology {
  /** None: nothing goes over a broker. */
  readonly transports: readonly string[]
  /** What is not as it would be made, in the order of making. */
  readonly steps: readonly (Step & Over)[]
}

export interface Removed {
  readonly transports: readonly string[]
  /** What is there, in the order of removing. */
  readonly removals: readonly (Removal & Over)[]
}

/** What is missing, lacks something or is otherwise. Changes nothing. @throws PABAL_TRANSPORT_UNREACHABLE, PABAL_TRANSPORT_INVALID */
export const planTopology = async (app: App): Promise<Topology> => ({
  transports: transportsOf(app),
  steps: await overResources(app, planSteps),
})

/**
 * Makes what is missing, adds what is lacking, and takes nothing away; again it does nothing. The steps are those that it took.
 * @throws PABAL_TRANSPORT_INVALID before anything is made on a broker, when something that is there cannot be used;
 * PABAL_TRANSPORT_UNREACHABLE
 */
export const applyTopology = async (app: App): Promise<Topology> => ({
  transports: transportsOf(app),
  steps: await overResources(app, (resources, { transport }) => applySteps(transport.name, resources)),
})

/** What `destroyTopology` would remove, and what it would keep. Changes nothing. @throws PABAL_TRANSPORT_UNREACHABLE */
export const planDestruction = async (app: App): Promise<Removed> => ({
  transports: transportsOf(app),
  removals: await overResources(app, planRemovals),
})

/**
 * Removes what this app alone needs, with the messages that are in it; the app has to be stopped. What other contexts use stays.
 * @throws PABAL_PLAN_CHANGED when more messages than `messagesMost` (default: any number) would be lost; PABAL_TRANSPORT_UNREACHABLE
 */
export const destroyTopology = async (
  app: App,
  { messagesMost = Number.POSITIVE_INFINITY }: { readonly messagesMost?: number | undefined } = {},
): Promise<Removed> => {
  let left = messagesMost
  const removals = await overResources(app, async (resources) => {
    const removed = await applyRemovals(resources, left)
    left -= messagesIn(removed)
    return removed
  })
  return { transports: transportsOf(app), removals }
}

/**
 * What this app needs, for Terraform, in its JSON: of SNS and SQS. The broker is not asked.
 * @throws PABAL_USAGE for an app with other transports only, or none
 */
export const exportTopology = (app: App): Terraform => {
  const { composition } = app['~pabal']
  const parts = composition.carried.flatMap(
    (carried) => carried.transport.terraform?.(needsOf(composition, carried)) ?? [],
  )
  if (parts.length > 0) return parts.reduce(merged)
  const names = transportsOf(app)
  const why = names.length === 0 ? 'nothing of this app goes over a broker' : `this app has '${names.join("', '")}'`
  throw new PabalError('PABAL_USAGE', `there is nothing to export: Terraform is written for SNS and SQS, and ${why}`)
}

const merged = (one: Terraform, other: Terraform): Terraform => {
  const both = (a: TerraformBlocks, b: TerraformBlocks): TerraformBlocks =>
    Object.fromEntries([...Object.keys(a), ...Object.keys(b)].map((type) => [type, { ...a[type], ...b[type] }]))
  const data = both(one.data ?? {}, other.data ?? {})
  const resource = both(one.resource, other.resource)
  return Object.keys(data).length === 0 ? { resource } : { data, resource }
}

const transportsOf = (app: App): readonly string[] => [
  ...new Set(app['~pabal'].composition.carried.map(({ transport }) => transport.name)),
]

/** One transport after the other. */
const overResources = async <T extends object>(
  app: App,
  work: (resources: readonly Resource[], carried: Carried) => Promise<readonly T[]>,
): Promise<readonly (T & Over)[]> => {
  const { composition, environment, warn } = app['~pabal']
  const all: (T & Over)[] = []
  for (const carried of composition.carried) {
    const { transport } = carried
    await using open = await transport.open({ environment, warn })
    const resources = distinct(open.resources?.(needsOf(composition, carried)) ?? [])
    for (const each of await work(resources, carried)) all.push({ ...each, transport: transport.name })
  }
  return all
}

/** Two contexts that receive from a third need the same of it. */
const distinct = (resources: readonly Resource[]): readonly Resource[] => [
  ...new Map(resources.map((resource) => [`${resource.kind} ${resource.name}`, resource])).values(),
]
