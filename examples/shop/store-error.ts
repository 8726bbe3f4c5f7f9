/** What is wrong with the database that the shop was given, each with a code and a remedy. No message holds a credential. */

const remedies = {
  SHOP_STORE_INVALID: 'Give --store sqlite, --store postgres, or --store postgres://user@host:5432/database.',
  SHOP_STORE_OTHER: 'Give this one another folder: --data .data/another.',
  SHOP_STORE_WORKERS: 'Leave --workers out, or give --store postgres with another --data folder.',
  SHOP_EXCHANGE_INVALID:
    'Give rabbitmq, kafka, nats, redis or sns-sqs; amqp://, kafka://, nats://, redis:// or sns-sqs://<region>; or two, with a comma.',
  SHOP_EXCHANGE_MISSING: 'Install it (npm run servers:install), or start one (compose.yaml) and give its URL.',
  SHOP_EXCHANGE_OTHER: 'Give --exchange as before, or this one another folder: --data .data/another.',
  SHOP_EXCHANGE_WORKERS: 'Leave one of --exchange and --workers out.',
  SHOP_WORKERS_FAILED: 'They have said why; without --workers the shop does the work in one process.',
  SHOP_STORE_NEEDED: 'Say where it is: --store postgres://…, or set SHOP_STORE; the shop keeps no credentials.',
  SHOP_STORE_UNREACHABLE:
    'Is the server running? Look at host and port; `--store postgres` brings a server of its own.',
  SHOP_STORE_DENIED: 'Look at user and password in --store or SHOP_STORE, and at the pg_hba.conf of the server.',
  SHOP_STORE_NO_DATABASE: 'Create it (createdb), or name one that is there.',
  SHOP_STORE_RIGHTS: 'Let the user create schemas: GRANT CREATE ON DATABASE … TO ….',
  SHOP_STORE_LOST: 'Begin anew with another --data folder, or delete this one.',
  SHOP_DATA_UNWRITABLE: 'Give a folder that this user may write: --data ….',
  SHOP_POSTGRES_MISSING: 'Run npm ci without --omit; or give a server of yours: --store postgres://….',
  SHOP_POSTGRES_FAILED: 'Give a server of yours: --store postgres://…, or another --data folder.',
} as const

export type ShopStoreErrorCode = keyof typeof remedies

const usage: readonly ShopStoreErrorCode[] = [
  'SHOP_STORE_INVALID',
  'SHOP_STORE_OTHER',
  'SHOP_STORE_WORKERS',
  'SHOP_STORE_NEEDED',
  'SHOP_EXCHANGE_INVALID',
  'SHOP_EXCHANGE_OTHER',
  'SHOP_EXCHANGE_WORKERS',
]

export class ShopStoreError extends Error {
  override readonly name = 'ShopStoreError'
  readonly code: ShopStoreErrorCode
  readonly remedy: string
  /** The command line, not the store, is wrong. */
  readonly isUsage: boolean

  constructor(code: ShopStoreErrorCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
    this.remedy = remedies[code]
    this.isUsage = usage.includes(code)
  }
}

/** What a server, or the way to it, answered to a connection; `where` names it without credentials. */
export function asStoreError(error: unknown, where: string): ShopStoreError {
  const { code, message } = error as { code?: string; message: string }
  // https://www.postgresql.org/docs/current/errcodes-appendix.html
  if (code === '3D000') return new ShopStoreError('SHOP_STORE_NO_DATABASE', `${where}: ${message}.`, error)
  if (code === '42501') return new ShopStoreError('SHOP_STORE_RIGHTS', `${where}: ${message}.`, error)
  if (code?.startsWith('28') || message.startsWith('SASL'))
    return new ShopStoreError('SHOP_STORE_DENIED', `${where}: ${message}.`, error)
  return new ShopStoreError('SHOP_STORE_UNREACHABLE', `${where} does not answer: ${message || code}.`, error)
}
