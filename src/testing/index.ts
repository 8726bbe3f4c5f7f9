/** `pabal/testing`: what proves that an adapter keeps the promises. */

export { type Cannot, type ContractTest, type Guarantee, plan, type PlannedTest } from './contract.ts'
export {
  checkHistory,
  type HistoryUnit,
  storeContract,
  type StoreHarness,
  type StoreRule,
  type StoreUnderTest,
} from './store-contract.ts'
export { kind, nasty, NastyBroker, type Nastiness, type NastyOptions } from './nasty-transport.ts'
export {
  transportContract,
  type TransportHarness,
  type TransportRule,
  type TransportUnderTest,
} from './transport-contract.ts'
