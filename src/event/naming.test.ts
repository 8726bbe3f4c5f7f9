import { describe, expect, test } from 'vitest'
import { nameWarning } from './naming.ts'

const good = `
  ordering.order-placed  ordering.order-paid  ordering.order-cancelled  shop.order-placed.v1  acme.shop.order-placed.v12
  shop.order_shipped  payment.charge-declined  payment.refund-succeeded  billing.invoice-sent  billing.invoice-resent
  warehouse.goods-received  warehouse.stock-ran-out  warehouse.stock-set-aside  warehouse.item-picked-up  warehouse.parcel-lost
  warehouse.parcel-found  warehouse.order-split  warehouse.shelf-overfilled  contract.contract-terminated  contract.contract-withdrawn
  contract.offer-withdrawn  contract.offer-overridden  contract.policy-rewritten  contract.terms-agreed  hr.employee-quit
  hr.employee-left  hr.employee-hired  hr.shift-begun  hr.shift-began  auction.bid-placed  auction.auction-began  auction.lot-sold
  auction.lot-withheld  auction.bidder-outbid  delivery.parcel-stolen  delivery.courier-fell-ill  delivery.address-corrected
  delivery.route-chosen  delivery.route-driven  delivery.parcel-put-down  delivery.window-shut  delivery.parcel-struck
  delivery.order-undertaken  pricing.price-set  pricing.price-cut  pricing.price-reset  pricing.price-rose  pricing.discount-lapsed
  account.password-forgotten  account.login-forbidden  account.limit-hit  account.debt-repaid  account.debt-overpaid
  account.budget-overrun  account.statement-read  account.phishing-sought  message.message-spread  message.letter-written
  message.call-rung  message.news-broadcast  message.question-understood  message.question-misunderstood  seat.seat-taken
  seat.seat-retaken  seat.ticket-torn  seat.ticket-bought  seat.guest-came  seat.guest-went  seat.guest-slept  game.game-won
  game.record-broken  game.record-beaten  game.record-held  game.ball-thrown  game.ball-caught  water.level-sank  water.level-sunk
  water.valve-burst  water.pipe-frozen  house.house-built  house.house-rebuilt  house.wall-torn-down  house.lease-overdue
    risk.default-foreseen  risk.customer-misled  hr.couple-wed  search.saved-search-shared  feed.feed-opened  speed.speed-exceeded
`
const intents = `
  ordering.place-order  ordering.order  ordering.order-placement  ordering.order-cancel  ordering.cancel-order  ordering.order-complete
  ordering.order-completion  shop.send-invoice.v1  billing.pay  billing.payment  billing.refund  pricing.set-price  pricing.cut-price
  pricing.reset-price  pricing.price-reduction  warehouse.put-away  warehouse.split-order  warehouse.stock-low  account.read-statement
  account.let-in  account.shut-down  auction.bid  auction.bet-on-lot  job.run-job  job.job-runs  job.run  job.come-again  news.feed
  news.breed  news.spread-news  news.broadcast-news  garden.seed  garden.weed  garden.need  garden.bed  delivery.speed
  delivery.proceed  delivery.exceed  delivery.succeed  delivery.embed  delivery.hundred  message.upset-customer  house.build-house
  hr.wed-couple  snake.shed-skin
`
const rows = `
  ordering.order-created  ordering.order-updated  ordering.order-deleted  customer.customer-modified  customer.address-changed
  customer.customer-saved  customer.customer-upserted  customer.row-inserted  customer.order_updated  shop.order-updated.v2
  search.shared-search-updated  ordering.order-updated-by-customer
`
const names = (text: string): string[] => text.trim().split(/\s+/)

describe('a name that tells what happened has no warning', () => {
  test.each(names(good))('%s', (name) => {
    expect(nameWarning(name)).toBeUndefined()
  })
})

describe('a name that tells an intent, a thing or a state is warned about', () => {
  test.each(names(intents))('%s', (name) => {
    expect(nameWarning(name)).toContain(`'${name}' does not tell what happened`)
  })
})

describe('a name that tells what was done to a row is warned about', () => {
  test.each(names(rows))('%s', (name) => {
    expect(nameWarning(name)).toContain(`'${name}' tells what was done to a row`)
  })
})

test('the context is not part of what a name tells', () => {
  expect(nameWarning('closed.order')).toContain('does not tell what happened')
  expect(nameWarning('created.order-placed')).toBeUndefined()
})
