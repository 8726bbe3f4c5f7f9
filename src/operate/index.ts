/** `pabal/operate`: what the command line does, for your own tools. Every function works beside the running app. */

export type { Concern } from './concerns.ts'
export type { ConsumerState, ConsumerStatus, LaneStatus, UnhandledEvent } from './consumer-status.ts'
export { type Changed, type ConsumerPlan, pause, planConsumer, remove, rename, resume } from './consumers.ts'
export {
  type AppDatabase,
  type Backup,
  backup,
  backupIn,
  type DatabaseStatus,
  databasesOf,
  databaseStatuses,
  migrate,
  pendingMigrations,
  planRestore,
  type RestorePlan,
  restore,
} from './databases.ts'
export { type DeadLetterDetail, showDead } from './dead-letter.ts'
export {
  countDead,
  type DeadCount,
  type DeadFilter,
  type DeadGroup,
  type DeadLetter,
  type FoundDeadLetter,
  findDead,
  groupDead,
  listDead,
} from './dead-letters.ts'
export { Deliveries, type Delivery, type DeliveryState } from './deliveries.ts'
export { type Diagnosis, diagnose } from './doctor.ts'
export { type EditPlan, type Editor, edit, planEdit } from './edit.ts'
export type { LoggedEvent } from './event-record.ts'
export {
  cloudEventOf,
  type FoundEvent,
  findEvent,
  followEvents,
  type LogFilter,
  type LogRange,
  listEvents,
} from './log.ts'
export {
  type ConsumerAddress,
  consumerNamed,
  type Operated,
  type OperatedContext,
  type Operator,
  operate,
} from './operated.ts'
export { countEvents, countUserEvents, type LogSize } from './operator-events.ts'
export { awaitOutcome, type Outcome } from './outcome.ts'
export {
  discardRefused,
  listRefused,
  type RefusedDetail,
  type RefusedFilter,
  type RefusedMessage,
  type Retried,
  retryRefused,
  showRefused,
} from './refused.ts'
export { planReset, type ResetPlan, type ResetTarget, reset } from './reset.ts'
export { type DeadPlan, planDead, retryAll, retryOne } from './retry.ts'
export { type Skipped, type Skipper, skipAll, skipOne } from './skip.ts'
export { type AppStatus, type ContextStatus, statusOf } from './status.ts'
export {
  type Action,
  applyTopology,
  destroyTopology,
  exportTopology,
  planDestruction,
  planTopology,
  type Removal,
  type Removed,
  type Step,
  type Terraform,
  type Topology,
} from './topology.ts'
export { type Trace, type TracedEvent, traceOf } from './trace.ts'
