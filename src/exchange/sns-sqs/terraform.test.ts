import { expect, test } from 'vitest'
import { namesWith } from './names.ts'
import { terraformOf, terraformOfQueues } from './terraform.ts'

const ordering = { context: 'ordering' }

test('standard queues have no arguments of FIFO, names have the prefix and labels do not', () => {
  const { data, resource } = terraformOf(namesWith('test-', false), false, {
    publishes: [{ context: 'billing' }],
    receives: [{ channel: ordering, subscriber: 'shipping' }],
  })
  expect(resource['aws_sns_topic']).toEqual({ 'pabal-billing': { name: 'test-pabal-billing' } })
  expect(data).toEqual({ aws_sns_topic: { 'pabal-ordering': { name: 'test-pabal-ordering' } } })
  expect(resource['aws_sqs_queue']!['pabal-ordering-shipping-refused']).toEqual({
    name: 'test-pabal-ordering-shipping-refused',
    message_retention_seconds: 1_209_600,
  })
})

test("a foreign producer's topic is looked up by its own name", () => {
  const { data, resource } = terraformOf(namesWith('test-', true), true, {
    publishes: [],
    receives: [{ channel: { context: 'erp', name: 'erp-orders.fifo' }, subscriber: 'billing' }],
  })
  expect(data).toEqual({ aws_sns_topic: { 'pabal-erp': { name: 'erp-orders.fifo' } } })
  expect(resource['aws_sns_topic']).toBeUndefined()
  expect(resource['aws_sqs_queue']!['pabal-erp-billing']).toMatchObject({ name: 'test-pabal-erp-billing.fifo' })
})

test('every reference is to something that is there', () => {
  const terraform = terraformOf(namesWith('', true), true, {
    publishes: [{ context: 'billing' }],
    receives: ['shipping', 'delivery', 'x_1'].map((subscriber) => ({ channel: ordering, subscriber })),
  })
  const there = [
    ...Object.entries(terraform.resource).flatMap(([type, blocks]) =>
      Object.keys(blocks).map((label) => `${type}.${label}`),
    ),
    ...Object.entries(terraform.data ?? {}).flatMap(([type, blocks]) =>
      Object.keys(blocks).map((label) => `data.${type}.${label}`),
    ),
  ]
  const references = [...JSON.stringify(terraform).matchAll(/\$\{([^}]+)\.(?:arn|id)\}/g)].map(([, name]) => name)
  expect(references.length).toBeGreaterThan(10)
  expect(references.filter((name) => !there.includes(name!))).toEqual([])
  const depended = Object.values(terraform.resource['aws_sns_topic_subscription']!).flatMap(
    (block) => block['depends_on'] as string[],
  )
  expect(depended.filter((name) => !there.includes(name))).toEqual([])
})

test('over SQS alone whoever receives has the queue, and who sends looks it up', () => {
  const names = namesWith('', true)
  expect(terraformOfQueues(names, true, { publishes: [ordering], receives: [] })).toEqual({
    data: { aws_sqs_queue: { 'pabal-ordering': { name: 'pabal-ordering.fifo' } } },
    resource: {},
  })
  const fifo = {
    fifo_queue: true,
    deduplication_scope: 'messageGroup',
    fifo_throughput_limit: 'perMessageGroupId',
    message_retention_seconds: 1_209_600,
  }
  const receives = [{ channel: ordering, subscriber: 'notification' }]
  expect(terraformOfQueues(names, true, { publishes: [], receives })).toEqual({
    resource: {
      aws_sqs_queue: {
        'pabal-ordering--refused': { name: 'pabal-ordering--refused.fifo', ...fifo },
        'pabal-ordering': {
          name: 'pabal-ordering.fifo',
          ...fifo,
          redrive_policy: JSON.stringify({
            deadLetterTargetArn: '${aws_sqs_queue.pabal-ordering--refused.arn}',
            maxReceiveCount: 1_000,
          }),
        },
      },
    },
  })
})

test('a subscriber that selects has a filter policy, in which Terraform sees no template', () => {
  const selection = { country: ['KR', '${x}'] }
  const { resource } = terraformOf(namesWith('', true), true, {
    publishes: [],
    receives: [
      { channel: ordering, subscriber: 'shipping', selection },
      { channel: ordering, subscriber: 'billing' },
    ],
  })
  const subscriptions = resource['aws_sns_topic_subscription']!
  expect(subscriptions['pabal-ordering-shipping']!['filter_policy']).toBe('{"country":["$${x}","KR",{"exists":false}]}')
  expect(subscriptions['pabal-ordering-billing']).not.toHaveProperty('filter_policy')
})
