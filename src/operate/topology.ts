/** What an app needs on its broker. Only the broker is asked: no database has to be there, and nothing of it is in a log. */

import type { App } from '../app/app.ts'
import { needsOf } from '../app/composition.ts'
import { PabalError } from '../core/errors.ts'
import type { Resource, Terraform } from '../exchange/resource.ts'
import {
  type Action,
  applyRemovals,
  applySteps,
  planRemovals,
  planSteps,
  type Removal,
  type Step,
} from '../exchange/topology.ts'
import type { Transport } from '../exchange/transport.ts'

export type { Action, Removal, Step, Terraform }

export interface Topology {
  /** Null: nothing goes over a broker. */
  readonly transport: string | null
  /** What is not as it would be made, in the order of making. */
  readonly steps: readonly Step[]
}

export interface Removed {
  readonly transport: string | null
  /** What is there, in the order of removing. */
  readonly removals: readonly Removal[]
}

/** What is missing, lacks something or is otherwise. Changes nothing. @throws PABAL_TRANSPORT_UNREACHABLE, PABAL_TRANSPORT_INVALID */
export const planTopology = async (app: App): Promise<Topology> => ({
  transport: transportOf(app)?.name ?? null,
  steps: await overResources(app, planSteps),
})

/**
 * Makes what is missing, adds what is lacking, and takes nothing away; again it does nothing. The steps are those that it took.
 * @throws PABAL_TRANSPORT_INVALID before anything is made, when something that is there cannot be used; PABAL_TRANSPORT_UNREACHABLE
 */
export const applyTopology = async (app: App): Promise<Topology> => {
  const transport = transportOf(app)?.name ?? null
  return { transport, steps: await overResources(app, (resources) => applySteps(String(transport), resources)) }
}

/** What `destroyTopology` would remove, and what it would keep. Changes nothing. @throws PABAL_TRANSPORT_UNREACHABLE */
export const planDestruction = async (app: App): Promise<Removed> => ({
  transport: transportOf(app)?.name ?? null,
  removals: await overResources(app, planRemovals),
})

/**
 * Removes what this app alone needs, with the messages that are in it; the app has to be stopped. What other contexts use stays.
 * @throws PABAL_PLAN_CHANGED when more messages than `messagesMost` (default: any number) would be lost; PABAL_TRANSPORT_UNREACHABLE
 */
export const destroyTopology = async (
  app: App,
  { messagesMost }: { readonly messagesMost?: number | undefined } = {},
): Promise<Removed> => ({
  transport: transportOf(app)?.name ?? null,
  removals: await overResources(app, (resources) => applyRemovals(resources, messagesMost)),
})

/**
 * What this app needs, for Terraform, in its JSON: of SNS and SQS. The broker is not asked.
 * @throws PABAL_USAGE for an app with another transport, or none
 */
export const exportTopology = (app: App): Terraform => {
  const transport = transportOf(app)
  if (transport?.terraform !== undefined) return transport.terraform(needsOf(app['~pabal'].composition))
  const why = transport === undefined ? 'nothing of this app goes over a broker' : `this app has '${transport.name}'`
  throw new PabalError('PABAL_USAGE', `there is nothing to export: Terraform is written for SNS and SQS, and ${why}`)
}

const transportOf = (app: App): Transport | undefined => app['~pabal'].composition.carried?.transport

const overResources = async <T>(app: App, work: (resources: readonly Resource[]) => Promise<T>): Promise<T> => {
  const { composition, environment, warn } = app['~pabal']
  const transport = transportOf(app)
  if (transport === undefined) return work([])
  await using open = await transport.open({ environment, warn })
  return await work(distinct(open.resources?.(needsOf(composition)) ?? []))
}

/** Two contexts that receive from a third need the same of it. */
const distinct = (resources: readonly Resource[]): readonly Resource[] => [
  ...new Map(resources.map((resource) => [`${resource.kind} ${resource.name}`, resource])).values(),
]
