/** pg-transactional-outbox: messages stored in the caller's transaction, handed out by its polling listener. */

import { Pool, type PoolClient } from 'pg'
import { labelOf, load } from '../competitors.ts'
import { type Appender, type Arm, drainBy } from './arm.ts'
import { eventType, insertOrder, newId, newOrder, nextNumbers, type Order, orderRow, orderTable } from './orders.ts'
import { nameIn, withClient } from './server.ts'

interface Message {
  readonly id: string
  readonly aggregateType: string
  readonly aggregateId: string
  readonly messageType: string
  readonly segment: string
  readonly payload: unknown
  readonly metadata: object
}
interface SetUp {
  readonly outboxOrInbox: 'outbox'
  readonly database: string
  readonly schema: string
  readonly table: string
  readonly listenerRole: string
  readonly handlerRole: string
  readonly nextMessagesName: string
}
interface Library {
  readonly DatabaseSetup: Readonly<
    Record<'dropAndCreateTable' | 'createPollingFunction' | 'setupPollingIndexes', (config: SetUp) => string>
  >
  readonly getDisabledLogger: () => unknown
  readonly initializeMessageStorage: (
    config: object,
    logger: unknown,
  ) => (message: Message, client: PoolClient) => Promise<void>
  readonly initializePollingMessageListener: (
    config: object,
    handler: { handle(message: Message): Promise<void> },
    logger: unknown,
    strategies?: object,
  ) => [() => Promise<void>]
}

const library = () => load<Library>('pg-transactional-outbox')
const settings = { dbSchema: 'public', dbTable: 'message_outbox' }
const nextMessagesName = 'next_outbox_messages'

const setUp = async (url: string): Promise<void> => {
  const { DatabaseSetup } = await library()
  const config: SetUp = {
    outboxOrInbox: 'outbox',
    database: nameIn(url),
    schema: settings.dbSchema,
    table: settings.dbTable,
    listenerRole: 'postgres',
    handlerRole: 'postgres',
    nextMessagesName,
  }
  await withClient(url, async (client) => {
    await client.query(orderTable)
    await client.query(DatabaseSetup.dropAndCreateTable(config))
    await client.query(DatabaseSetup.createPollingFunction(config))
    await client.query(DatabaseSetup.setupPollingIndexes(config))
  })
}

const messageOf = (order: Order): Message => ({
  id: newId(),
  aggregateType: 'order',
  aggregateId: order.orderId,
  messageType: eventType,
  segment: order.orderId,
  payload: order,
  metadata: {},
})

const append: NonNullable<Arm['append']> = async (url, { connections }): Promise<Appender> => {
  const { initializeMessageStorage, getDisabledLogger } = await library()
  const store = initializeMessageStorage({ outboxOrInbox: 'outbox', settings }, getDisabledLogger())
  const pool = new Pool({ connectionString: url, max: connections })
  const inTransaction = async (orders: readonly Order[]): Promise<void> => {
    const client = await pool.connect()
    await client.query('BEGIN')
    await client.query({ name: 'order', text: insertOrder, values: orderRow(orders[0]!) })
    for (const order of orders) await store(messageOf(order), client)
    await client.query('COMMIT')
    client.release()
  }
  return {
    one: (order) => inTransaction([order]),
    hundred: inTransaction,
    [Symbol.asyncDispose]: () => pool.end(),
  }
}

/** As its storage writes them, in one statement: a message at a time would take longer than the drain is given. */
const fill = (url: string, events: number): Promise<void> =>
  withClient(url, async (client) => {
    const payload = JSON.stringify(newOrder(nextNumbers(1)))
    await client.query(
      `INSERT INTO message_outbox (id, aggregate_type, aggregate_id, message_type, segment, payload, metadata)
       SELECT gen_random_uuid(), 'order', 'order-' || n, $2, 'order-' || n, $3::jsonb, '{}' FROM generate_series(1, $1) n`,
      [events, eventType, payload],
    )
  })

const listener = async (
  url: string,
  polling: { batchSize: number; everyMs: number },
  handle: (message: Message) => void,
): Promise<() => Promise<void>> => {
  const { initializePollingMessageListener, getDisabledLogger } = await library()
  const [stop] = initializePollingMessageListener(
    {
      outboxOrInbox: 'outbox',
      dbListenerConfig: { connectionString: url, max: 20 },
      settings: {
        ...settings,
        nextMessagesFunctionName: nextMessagesName,
        nextMessagesBatchSize: polling.batchSize,
        nextMessagesPollingIntervalInMs: polling.everyMs,
        enableMaxAttemptsProtection: false,
        enablePoisonousMessageProtection: false,
      },
    },
    { handle: async (message) => handle(message) },
    getDisabledLogger(),
    // Its own begins with one message at a time.
    { batchSizeStrategy: async () => polling.batchSize },
  )
  return stop
}

const drain: NonNullable<Arm['drain']> = async (url, options) =>
  drainBy(options, (countdown) => listener(url, { batchSize: 100, everyMs: 100 }, () => countdown.handled()))

const consume: NonNullable<Arm['consume']> = async (url, { topics, handle }) => {
  const stops = await Promise.all(
    Array.from({ length: topics }, () =>
      listener(url, { batchSize: 5, everyMs: 500 }, ({ payload }) => handle((payload as Order).number)),
    ),
  )
  return {
    [Symbol.asyncDispose]: async () => {
      await Promise.all(stops.map((stop) => stop()))
    },
  }
}

export const pgTransactionalOutbox: Arm = {
  name: labelOf('pg-transactional-outbox'),
  note: 'Polling listener, 100 messages at once every 100 ms; its protections against failing messages are off.',
  setUp,
  append,
  fill,
  drain,
  consume,
}
