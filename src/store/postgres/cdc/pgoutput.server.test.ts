/** Our reader against that of `pg-logical-replication`, on the same bytes. */

import { isDeepStrictEqual } from 'node:util'
import { LogicalReplicationService, Pgoutput as Theirs, PgoutputPlugin } from 'pg-logical-replication'
import { describe, expect, onTestFinished, test } from 'vitest'
import { eventually } from '../../../../test/support/eventually.ts'
import { legacyOrders, legacyTables, placeLegacyOrder } from '../../../../test/support/legacy-shop.ts'
import { missingPostgres, testDatabase, testServer } from '../../../../test/support/postgres.ts'
import { titled } from '../../../../test/support/require-server.ts'
import { lsnOf } from './lsn.ts'
import { type Message, type OldRow, Pgoutput, type Relation, type Value } from './pgoutput.ts'

const row = (relation: Relation, values: readonly Value[]): Record<string, unknown> =>
  Object.fromEntries(relation.columns.map(({ name }, index) => [name, values[index]]))

/** The library takes what was not sent again from the old row, where it has all of that. */
const filled = (after: readonly Value[], before: OldRow | undefined): readonly Value[] =>
  after.map((value, index) =>
    before?.keyOnly === false ? (value === undefined ? before.values[index] : value) : value,
  )

const keyOf = (relation: Relation, values: readonly Value[]): Record<string, unknown> =>
  Object.fromEntries(relation.columns.flatMap(({ name, isKey }, index) => (isKey ? [[name, values[index]]] : [])))

/** Ours, in the other's words. */
const asTheirs = (message: Message): Record<string, unknown> => {
  switch (message.kind) {
    case 'begin':
      return { tag: 'begin', xid: message.xid, committedAtMs: message.committedAtMs }
    case 'commit':
      return { tag: 'commit', lsn: message.lsn }
    case 'insert':
      return { tag: 'insert', new: row(message.relation, message.after) }
    case 'truncate':
      return { tag: 'truncate', tables: message.relations.map(({ name }) => name) }
    default: {
      const { relation, before } = message
      const old = before === undefined ? undefined : before.keyOnly ? 'key' : 'old'
      return {
        tag: message.kind,
        old: null,
        key: null,
        ...(old === 'key' ? { key: keyOf(relation, before!.values) } : {}),
        ...(old === 'old' ? { old: row(relation, before!.values) } : {}),
        ...(message.kind === 'update' ? { new: row(relation, filled(message.after, before)) } : {}),
      }
    }
  }
}

const theirs = (message: Theirs.Message): Record<string, unknown> | undefined => {
  switch (message.tag) {
    case 'begin':
      return { tag: 'begin', xid: message.xid, committedAtMs: Number(BigInt(String(message.commitTime)) / 1_000n) }
    case 'commit':
      return { tag: 'commit', lsn: lsnOf(message.commitEndLsn!) }
    case 'relation':
      // Texts, as ours.
      for (const column of message.columns) column.parser = (text: string) => text
      return undefined
    case 'insert':
      return { tag: 'insert', new: { ...message.new } }
    case 'update':
      return {
        tag: 'update',
        old: message.old && { ...message.old },
        key: message.key && { ...message.key },
        new: { ...message.new },
      }
    case 'delete':
      return { tag: 'delete', old: message.old && { ...message.old }, key: message.key && { ...message.key } }
    case 'truncate':
      return { tag: 'truncate', tables: message.relations.map(({ name }) => name) }
    default:
      return undefined
  }
}

const missing = missingPostgres()

describe.skipIf(missing)(titled('what pgoutput says', missing), () => {
  test('is read as the library reads it', async () => {
    const database = await testDatabase(await testServer())
    const pool = database.pool()
    await database.sql(legacyTables)
    await database.sql('ALTER TABLE orders ADD COLUMN large text; ALTER TABLE orders ALTER large SET STORAGE EXTERNAL')
    await database.sql('CREATE PUBLICATION p FOR TABLE orders, order_line')
    await database.sql(`SELECT pg_create_logical_replication_slot('s', 'pgoutput')`)
    const decoder = new Pgoutput()
    const both: { ours: unknown; theirs: unknown }[] = []
    class Both extends PgoutputPlugin {
      override parse(bytes: Buffer): Theirs.Message {
        const theirMessage = super.parse(bytes)
        const ours = decoder.decode(bytes)
        both.push({ ours: ours && asTheirs(ours), theirs: theirs(theirMessage) })
        return theirMessage
      }
    }
    const service = new LogicalReplicationService(
      { connectionString: database.url },
      { acknowledge: { auto: false, timeoutSeconds: 0 } },
    )
    onTestFinished(async () => {
      await service.destroy()
    })
    service.on('error', () => {})
    void service.subscribe(new Both({ protoVersion: 1, publicationNames: ['p'] }), 's').catch(() => {})

    const orders = await legacyOrders(50)
    for (const order of orders) await placeLegacyOrder(pool, order)
    const [first] = orders
    await database.sql(`UPDATE orders SET large = $1, comment = '주문 ''x''' WHERE id = $2`, [
      'x'.repeat(20_000),
      first!.id,
    ])
    await database.sql(`UPDATE orders SET status = 'paid' WHERE id = $1`, [first!.id])
    await database.sql('ALTER TABLE orders REPLICA IDENTITY DEFAULT')
    await database.sql(`UPDATE orders SET status = 'sent', comment = NULL WHERE id = $1`, [first!.id])
    await database.sql(`UPDATE order_line SET line = -line WHERE order_id = $1`, [first!.id])
    await database.sql(`DELETE FROM order_line WHERE order_id = $1`, [first!.id])
    await database.sql(`DELETE FROM orders WHERE id = $1`, [first!.id])
    await database.sql('TRUNCATE orders CASCADE')
    const tagAt = (index: number): unknown => (both.at(index)?.theirs as { tag?: unknown } | undefined)?.tag
    await eventually('the last is read', () => tagAt(-2) === 'truncate' && tagAt(-1) === 'commit')

    expect(both.length).toBeGreaterThan(500)
    const differences = both.filter(({ ours, theirs: expected }) => !isDeepStrictEqual(ours, expected))
    expect(differences).toEqual([])
    const tags = new Set(both.map((_, index) => tagAt(index)))
    expect(tags).toEqual(new Set(['begin', 'commit', 'insert', 'update', 'delete', 'truncate', undefined]))
  })
})
