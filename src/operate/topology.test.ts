import { createApp, defineContext, over } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { expect, test } from 'vitest'
import { rabbitmqTransport } from '../exchange/rabbitmq/transport.ts'
import { applyTopology, destroyTopology, exportTopology, planTopology } from './topology.ts'

const contexts = [defineContext('ordering', { store: sqlite, events: [] }).with({ store: sqlite(':memory:') })]

test('an app without a broker has nothing to plan, make or remove, and no database is opened', async () => {
  const nowhere = [
    defineContext('ordering', { store: sqlite, events: [] }).with({ store: sqlite('/nonexistent/ordering.db') }),
  ]
  const app = createApp({ contexts: nowhere })
  expect(await planTopology(app)).toEqual({ transports: [], steps: [] })
  expect(await applyTopology(app)).toEqual({ transports: [], steps: [] })
  expect(await destroyTopology(app)).toEqual({ transports: [], removals: [] })
})

test('what Terraform is not written for is said, with the reason, and nothing is connected', () => {
  const connect = () => Promise.reject(new Error('nobody connects'))
  const app = createApp({ contexts, exchange: over(rabbitmqTransport({ connect })) })
  expect(() => exportTopology(app)).toThrow(/PABAL_USAGE.*Terraform is written for SNS and SQS.*'rabbitmq'/)
})
