import { describe, expect, test } from 'vitest'
import { channelNames, covers, subjectOf, subscriberNames } from './names.ts'
import { nats, type NatsOptions } from './index.ts'

const channel = { context: 'ordering' }

describe('names on the broker', () => {
  test('are of the prefix, the context and the subscriber, and a hyphen keeps them apart', () => {
    expect(channelNames('pabal', channel)).toEqual({ stream: 'pabal-ordering', subjects: 'pabal.ordering.>' })
    const { consumer, refused, turn } = subscriberNames('pabal', channel, 'shipping')
    expect(consumer).toBe('pabal-ordering-shipping')
    expect(refused).toEqual({ stream: 'pabal-ordering-shipping-refused', subject: 'pabal-refused.ordering.shipping' })
    expect(turn.stream).toBe('pabal-ordering-shipping-turn')
  })

  test('no subject of a subscriber is taken by a channel', () => {
    const { refused, turn } = subscriberNames('pabal', channel, 'shipping')
    for (const { subject } of [refused, turn])
      for (const context of ['ordering', 'refused', 'turn'])
        expect(covers(channelNames('pabal', { context }).subjects, subject)).toBe(false)
  })

  test.each([
    ['shop.order-placed.v1', 'pabal.ordering.shop.order-placed.v1'],
    ['a..b', 'pabal.ordering.a.=.b'],
    ['a b.*.>', 'pabal.ordering.a=20b.=2A.=3E'],
    ['주문', 'pabal.ordering.=C8FC=BB38'],
  ])('an event of type %s goes to %s', (type, subject) => {
    expect(subjectOf('pabal', channel, type)).toBe(subject)
  })

  test.each([
    ['a.>', 'a.b', true],
    ['a.>', 'a.>', true],
    ['>', 'a.>', true],
    ['a.*', 'a.b', true],
    ['a.*', 'a.>', false],
    ['a.b', 'a.b', true],
    ['a.>', 'a', false],
    ['a.b', 'a.>', false],
    ['a.*.c', 'a.b', false],
  ])('who listens to %s hears all of %s: %s', (pattern, subject, all) => {
    expect(covers(pattern, subject)).toBe(all)
  })
})

describe('the options', () => {
  const client = {
    connect: () => Promise.reject(new Error('not here')),
    jetstream: () => {
      throw new Error('not here')
    },
    headers: () => {
      throw new Error('not here')
    },
  }
  const bad = (options: Partial<NatsOptions>) => () => nats({ ...client, ...options })

  test('have defaults, and connect to nothing', () => {
    const { carried, kind } = nats(client)['~pabal']
    expect(kind).toBe('nats')
    expect(carried[0]?.transport.traits).toEqual({ ordered: true, delivery: 'at-least-once', messageBytes: 1_048_576 })
  })

  test.each<Partial<NatsOptions>>([
    { prefix: 'a.b' },
    { prefix: '' },
    { batch: 0 },
    { batch: 1.5 },
    { replicas: 6 },
    { ackWait: 999 },
    { keep: '1 minute' },
    { publishTimeout: 0 },
    { messageBytes: 10 },
  ])('%o is refused', (options) => {
    expect(bad(options)).toThrow(expect.objectContaining({ code: 'PABAL_COMPOSITION_INVALID' }))
  })

  test('what is missing of the client is named', () => {
    const { connect } = client
    expect(() => nats({ connect } as unknown as NatsOptions)).toThrow(/jetstream is missing/)
  })
})
