/** The EventBus of `@nestjs/cqrs` with three handlers, as Nest wires it. Its packages are the bench's own, installed on demand. */

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { install } from '../competitors.ts'

const folder = join(import.meta.dirname, '..')

// The small part of their types that is used here: the repository is checked without them being installed.
type Decorate = (target: object) => void
interface Bus {
  publish(event: object): unknown
}
interface NestApplication {
  init(): Promise<unknown>
  get(token: unknown): Bus
  close(): Promise<void>
}
interface Nest {
  readonly Module: (options: { imports: readonly unknown[]; providers: readonly unknown[] }) => Decorate
  readonly NestFactory: {
    createApplicationContext(module: object, options: { logger: false }): Promise<NestApplication>
  }
  readonly CqrsModule: { forRoot(): unknown }
  readonly EventsHandler: (...events: object[]) => Decorate
  readonly EventBus: unknown
}

const load = (): Nest => {
  install()
  const require = createRequire(join(folder, 'package.json'))
  const packages = ['reflect-metadata', '@nestjs/common', '@nestjs/core', '@nestjs/cqrs']
  return Object.assign({}, ...packages.map((name) => require(name) as object)) as Nest
}

export interface NestBus<Event> {
  publish(event: Event): void
  close(): Promise<void>
}

/** Each of three handlers calls `handled` with each event. */
export const nestBus = async <Event extends object>(
  eventClass: new (...given: never[]) => Event,
  handled: (event: Event) => void,
): Promise<NestBus<Event>> => {
  const { Module, NestFactory, CqrsModule, EventsHandler, EventBus } = load()
  const handlers = [1, 2, 3].map(() => {
    class Handler {
      handle(event: Event): void {
        handled(event)
      }
    }
    EventsHandler(eventClass)(Handler)
    return Handler
  })
  const app = function BenchModule() {}
  Module({ imports: [CqrsModule.forRoot()], providers: handlers })(app)
  const running = await NestFactory.createApplicationContext(app, { logger: false })
  await running.init()
  const bus = running.get(EventBus)
  return { publish: (event) => void bus.publish(event), close: () => running.close() }
}
