import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'

/** Runs where Node's own modules cannot be imported and its globals are gone, as in a browser or at the edge. */
const elsewhere = `
  import { registerHooks } from 'node:module'
  const print = console.log
  registerHooks({
    resolve(specifier, context, next) {
      const resolved = next(specifier, context)
      if (resolved.url.startsWith('node:')) throw new Error('imports ' + resolved.url + ' in ' + context.parentURL)
      return resolved
    },
  })
  for (const name of ['process', 'Buffer', 'setImmediate', 'global', 'require']) delete globalThis[name]
  const { defineCommand, defineMessage, definePublicEvent, ...rest } = await import('pabal/contract')
  const schema = { '~standard': { version: 1, vendor: 'house', validate: (value) =>
    value.orderId === undefined ? { issues: [{ message: 'missing', path: ['orderId'] }] } : { value } } }
  const attributes = { country: (order) => order.country }
  const OrderPlaced = definePublicEvent('shop.order-placed.v1', { kind: 'domain', schema, key: (order) => order.orderId, attributes, perKey: ['country'] })
  const PlaceOrder = defineCommand('ordering.place-order', { schema, refusals: { 'over-limit': schema } })
  const SendSms = defineMessage('notification.send-sms', { schema })
  const codes = [() => OrderPlaced['~pabal'].parse({}), () => definePublicEvent('OrderPlaced', { kind: 'domain', schema, key: String })]
    .map((fn) => { try { fn() } catch (error) { return error.code } })
  print(JSON.stringify({ types: [OrderPlaced.type, PlaceOrder.type, SendSms.type], codes, rest: Object.keys(rest) }))
`

test('pabal/contract works alone: it imports nothing of Node and needs none of its globals', () => {
  const output = execFileSync(
    process.execPath,
    ['--conditions=pabal-source', '--input-type=module', '--eval', elsewhere],
    { encoding: 'utf8' },
  )
  expect(JSON.parse(output)).toEqual({
    types: ['shop.order-placed.v1', 'ordering.place-order', 'notification.send-sms'],
    codes: ['PABAL_PAYLOAD_INVALID', 'PABAL_DEFINITION_INVALID'],
    rest: [],
  })
})
