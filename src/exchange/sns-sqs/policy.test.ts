import { describe, expect, test } from 'vitest'
import { allowing, allows } from './policy.ts'

const queue = 'arn:aws:sqs:eu-west-1:000000000000:pabal-ordering-shipping.fifo'
const topic = 'arn:aws:sns:eu-west-1:000000000000:pabal-ordering.fifo'
const other = 'arn:aws:sns:eu-west-1:000000000000:pabal-billing.fifo'

describe('the policy of a queue', () => {
  test('lets exactly its topic send', () => {
    expect(JSON.parse(allowing(undefined, queue, topic))).toEqual({
      Version: '2012-10-17',
      Statement: [
        {
          Sid: 'pabal',
          Effect: 'Allow',
          Principal: { Service: 'sns.amazonaws.com' },
          Action: 'sqs:SendMessage',
          Resource: queue,
          Condition: { ArnEquals: { 'aws:SourceArn': topic } },
        },
      ],
    })
    expect(allows(allowing(undefined, queue, topic), topic)).toBe(true)
    expect(allows(allowing(undefined, queue, topic), other)).toBe(false)
  })

  test('keeps what others have written into it', () => {
    const theirs = { Sid: 'theirs', Effect: 'Deny', Principal: '*', Action: 'sqs:*', Resource: queue }
    const policy = allowing(JSON.stringify({ Version: '2008-10-17', Id: 'x', Statement: theirs }), queue, topic)
    expect(JSON.parse(policy)).toMatchObject({ Version: '2008-10-17', Id: 'x', Statement: [theirs, { Sid: 'pabal' }] })
    expect(JSON.parse(allowing(policy, queue, topic))).toEqual(JSON.parse(policy))
  })

  const with_ = (statement: object): string => JSON.stringify({ Statement: [statement] })
  test.each([
    ['nothing', undefined, false],
    ['an empty text', '', false],
    ['no condition', with_({ Effect: 'Allow', Action: 'SQS:*' }), true],
    ['a denial', with_({ Effect: 'Deny', Action: 'sqs:*' }), false],
    ['another action', with_({ Effect: 'Allow', Action: ['sqs:ReceiveMessage'] }), false],
    [
      'topics by a pattern',
      with_({
        Effect: 'Allow',
        Action: ['sqs:Send*'],
        Condition: { ArnLike: { 'AWS:SourceArn': ['x', 'arn:*:pabal-*'] } },
      }),
      true,
    ],
    [
      'another topic',
      with_({ Effect: 'Allow', Action: 'sqs:SendMessage', Condition: { ArnEquals: { 'aws:SourceArn': other } } }),
      false,
    ],
    [
      'a condition on something else',
      with_({ Effect: 'Allow', Action: 'sqs:SendMessage', Condition: { Bool: { 'aws:SecureTransport': 'true' } } }),
      false,
    ],
  ])('of %s: %#', (_, policy, lets) => {
    expect(allows(policy, topic)).toBe(lets)
  })
})
