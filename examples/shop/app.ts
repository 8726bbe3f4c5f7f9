/** The shop as an app: the only place that knows all contexts, where their databases are, and what is outside. */

import { join } from 'node:path'
import { type App, type AppOptions, createApp, inProcess } from 'pabal'
import { kysely } from 'pabal/kysely'
import { sqlite } from 'pabal/sqlite'
import { type AddressService, createAddressService } from './delivery/address-service.ts'
import { delivery } from './delivery/context.ts'
import { forwardAddress, shipOrder } from './delivery/handlers.ts'
import { createDeliveryTables, type DeliveryTables } from './delivery/tables.ts'
import { notification } from './notification/context.ts'
import { composeNotification, sendNotification } from './notification/handlers.ts'
import { type Notification, type NotificationFile, openNotificationFile } from './notification-file.ts'
import { ordering } from './ordering/context.ts'
import { orderingHandlers } from './ordering/handlers.ts'
import { createOrderingTables, type OrderingTables } from './ordering/tables.ts'
import { payment } from './payment/context.ts'
import { paymentHandlers } from './payment/handlers.ts'
import { createPaymentTables, type PaymentTables } from './payment/tables.ts'
import { reporting } from './reporting/context.ts'
import { addUpSales } from './reporting/handlers.ts'
import { createReportingTables, type ReportingTables } from './reporting/tables.ts'
import { warehouse } from './warehouse/context.ts'
import { warehouseHandlers } from './warehouse/handlers.ts'
import { createWarehouseTables, type WarehouseTables } from './warehouse/tables.ts'

export interface ShopOptions extends Pick<AppOptions, 'onWarning'> {
  /** The folder of everything that the shop keeps. */
  readonly data: string
  /** The order whose shipping fails. */
  readonly failKey?: string | undefined
  /** How slow the external delivery service is, in milliseconds. Default 0. */
  readonly deliveryLatencyMs?: number | undefined
  /** Share of its requests that it fails, from 0 to 1. Default 0. */
  readonly deliveryFailRate?: number | undefined
}

export interface Shop extends AsyncDisposable {
  readonly app: App
  readonly addressService: AddressService
  readonly notificationPath: string
}

/** An invoice of the retail file can have thousands of lines, and an order is one event. */
const payloadBytes = 16 * 1024 * 1024

export function createShop(options: ShopOptions): Shop {
  const { data, failKey, deliveryLatencyMs = 0, deliveryFailRate = 0, onWarning } = options
  const database = (name: string) => sqlite(join(data, `${name}.db`))
  const notificationPath = join(data, 'notifications.jsonl')
  const notifications = createNotifications(notificationPath)
  const addressService = createAddressService({
    file: join(data, 'delivery-service.jsonl'),
    latencyMs: deliveryLatencyMs,
    failRate: deliveryFailRate,
  })

  const app = createApp({
    contexts: [
      ordering.with({
        store: kysely<OrderingTables>(database('ordering')),
        handlers: orderingHandlers,
        prepare: createOrderingTables,
      }),
      payment.with({
        store: kysely<PaymentTables>(database('payment')),
        handlers: paymentHandlers,
        prepare: createPaymentTables,
      }),
      warehouse.with({
        store: kysely<WarehouseTables>(database('warehouse')),
        handlers: warehouseHandlers,
        prepare: createWarehouseTables,
      }),
      delivery.with({
        store: kysely<DeliveryTables>(database('delivery')),
        handlers: [shipOrder(failKey), forwardAddress(addressService)],
        prepare: createDeliveryTables,
      }),
      notification.with({
        store: kysely<Record<never, never>>(database('notification')),
        handlers: [composeNotification, sendNotification(notifications)],
      }),
      reporting.with({
        store: kysely<ReportingTables>(database('reporting')),
        handlers: [addUpSales],
        prepare: createReportingTables,
      }),
    ],
    exchange: inProcess(),
    limits: { payloadBytes },
    ...(onWarning === undefined ? {} : { onWarning }),
  })

  return {
    app,
    addressService,
    notificationPath,
    async [Symbol.asyncDispose]() {
      await app.stop()
      await Promise.all([addressService, notifications].map((outside) => outside[Symbol.asyncDispose]()))
    },
  }
}

/** Opened at the first message: who only looks at the shop needs no file. */
function createNotifications(path: string): NotificationFile {
  let opening: Promise<NotificationFile> | undefined
  const opened = () => {
    opening ??= openNotificationFile(path)
    // What could not be opened may be opened at the next try.
    opening.catch(() => (opening = undefined))
    return opening
  }
  return {
    send: async (messages: readonly Notification[]) => (await opened()).send(messages),
    [Symbol.asyncDispose]: async () => (await opening)?.[Symbol.asyncDispose](),
  }
}
