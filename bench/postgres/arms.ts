/** All arms by name. An arm's module, and the library behind it, is loaded in that arm's process alone. */

import type { ExchangeArmName } from '../exchange/arms.ts'
import type { Arm } from './arm.ts'

const all = {
  withoutEvents: async () => (await import('./raw.ts')).withoutEvents,
  byHand: async () => (await import('./raw.ts')).byHand,
  pipelined: async () => (await import('./raw.ts')).pipelined,
  unnest: async () => (await import('./raw.ts')).unnest,
  unnestPipelined: async () => (await import('./raw.ts')).unnestPipelined,
  versioned: async () => (await import('./raw.ts')).versioned,
  prefetching: async () => (await import('./raw.ts')).prefetching,
  notified: async () => (await import('./raw.ts')).notified,
  pabal: async () => (await import('./pabal-arms.ts')).pabal,
  pabalPipelined: async () => (await import('./pabal-arms.ts')).pabalPipelined,
  pabalReading: async () => (await import('./pabal-arms.ts')).pabalReading,
  pabalOneLane: async () => (await import('./pabal-arms.ts')).pabalOneLane,
  pabalUnstarted: async () => (await import('./pabal-arms.ts')).pabalUnstarted,
  pgBoss: async () => (await import('./pg-boss.ts')).pgBoss,
  pgBossNotified: async () => (await import('./pg-boss.ts')).pgBossNotified,
  graphileWorker: async () => (await import('./graphile-worker.ts')).graphileWorker,
  emmett: async () => (await import('./emmett.ts')).emmettPostgres,
  dbos: async () => (await import('./dbos.ts')).dbos,
  pgTransactionalOutbox: async () => (await import('./pg-transactional-outbox.ts')).pgTransactionalOutbox,
} satisfies Record<string, () => Promise<Arm>>

type PostgresArmName = keyof typeof all

export type ArmName = PostgresArmName | ExchangeArmName

export const isArmName = (name: string): name is PostgresArmName => name in all

export const armNamed = async (name: ArmName): Promise<Arm> =>
  isArmName(name) ? all[name]() : (await import('../exchange/arms.ts')).exchangeArm(name)
