/** The shop as an app: the only place that knows all contexts, where their databases are, and what is outside. */

import { join } from 'node:path'
import { type App, type AppOptions, createApp, inProcess } from 'pabal'
import type { ExchangeOf } from './brokers.ts'
import { published } from './published.ts'
import { type Databases, files } from './databases.ts'
import { createDeliveryProcess, type DeliveryProcess, type DeliveryService } from './delivery-process.ts'
import { type AddressService, createAddressService } from './delivery/address-service.ts'
import { delivery } from './delivery/context.ts'
import { forwardAddress, shipOrder } from './delivery/handlers.ts'
import { createDeliveryTables } from './delivery/tables.ts'
import { notification } from './notification/context.ts'
import { composeNotification, sendNotification } from './notification/handlers.ts'
import { type Notification, type NotificationFile, openNotificationFile } from './notification-file.ts'
import { openDatabases, type StoreOptions } from './open-databases.ts'
import { ordering } from './ordering/context.ts'
import { orderingHandlers } from './ordering/handlers.ts'
import { createOrderingTables } from './ordering/tables.ts'
import { payment } from './payment/context.ts'
import { paymentHandlers } from './payment/handlers.ts'
import { createPaymentTables } from './payment/tables.ts'
import { reporting } from './reporting/context.ts'
import { addUpSales } from './reporting/handlers.ts'
import { createReportingTables } from './reporting/tables.ts'
import { warehouse } from './warehouse/context.ts'
import { warehouseHandlers } from './warehouse/handlers.ts'
import { createWarehouseTables } from './warehouse/tables.ts'

export interface ShopOptions extends Pick<AppOptions, 'onWarning'> {
  /** The folder of everything that the shop keeps. */
  readonly data: string
  /** Where the contexts live; closed with the shop. Default: files in that folder. */
  readonly databases?: Databases | undefined
  /** A delivery service that runs elsewhere. Default: a process of this shop. */
  readonly deliveryService?: DeliveryService | undefined
  /** Only these contexts, by name; the others run elsewhere. Default: all. */
  readonly contexts?: readonly string[] | undefined
  /** What goes between them and the others. Default: nothing is elsewhere. */
  readonly exchange?: ExchangeOf | undefined
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
  readonly deliveryProcess: DeliveryProcess
  readonly databases: Databases
  readonly notificationPath: string
}

/** An invoice of the retail file can have thousands of lines, and an order is one event. */
const payloadBytes = 16 * 1024 * 1024

export function createShop(options: ShopOptions): Shop {
  const { data, failKey, deliveryLatencyMs = 0, deliveryFailRate = 0, onWarning } = options
  const { databases = files(data) } = options
  const notificationPath = join(data, 'notifications.jsonl')
  const notifications = createNotifications(notificationPath)
  const deliveryProcess = createDeliveryProcess({
    file: join(data, 'delivery-service.jsonl'),
    latencyMs: deliveryLatencyMs,
    failRate: deliveryFailRate,
  })
  const { deliveryService = deliveryProcess } = options
  const addressService = createAddressService(() => deliveryService.url())

  const all = {
    ordering: ordering.with({ ...databases.of('ordering', createOrderingTables), handlers: orderingHandlers }),
    payment: payment.with({ ...databases.of('payment', createPaymentTables), handlers: paymentHandlers }),
    warehouse: warehouse.with({ ...databases.of('warehouse', createWarehouseTables), handlers: warehouseHandlers }),
    delivery: delivery.with({
      ...databases.of('delivery', createDeliveryTables),
      handlers: [shipOrder(failKey), forwardAddress(addressService)],
    }),
    notification: notification.with({
      ...databases.of<Record<never, never>>('notification'),
      handlers: [composeNotification, sendNotification(notifications)],
    }),
    reporting: reporting.with({ ...databases.of('reporting', createReportingTables), handlers: [addUpSales] }),
  }
  const { contexts: here = Object.keys(all), exchange = () => inProcess() } = options
  const elsewhere = Object.entries(published).filter(([context]) => !here.includes(context))
  const origins = Object.entries(all).flatMap(([context, bound]) =>
    context in published && !here.includes(context) ? [bound] : [],
  )
  const app = createApp({
    contexts: Object.entries(all).flatMap(([context, bound]) => (here.includes(context) ? [bound] : [])),
    exchange: exchange(Object.fromEntries(elsewhere), origins),
    limits: { payloadBytes },
    ...(onWarning === undefined ? {} : { onWarning }),
  })

  const close = async () => {
    try {
      await app.stop()
    } finally {
      await Promise.all([deliveryProcess, notifications, databases].map((part) => part[Symbol.asyncDispose]()))
    }
  }
  let closing: Promise<void> | undefined
  return {
    app,
    addressService,
    deliveryProcess,
    databases,
    notificationPath,
    [Symbol.asyncDispose]: () => (closing ??= close()),
  }
}

/** The shop of a folder, wherever that says it lives. @throws ShopStoreError */
export const openShopAt = async (options: Omit<ShopOptions, 'databases'> & StoreOptions): Promise<Shop> =>
  createShop({ ...options, databases: await openDatabases(options) })

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
