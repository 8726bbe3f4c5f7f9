/** A real Kafka of one's own: one node that is broker and controller, from the artifacts that Maven brings. */

import { spawn } from 'node:child_process'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isKafkaThere, javaVersion, javaVersionMin, kafkaLibs } from '../kafka-files.ts'
import { type Broker, startBroker } from './broker.ts'
import { accepts, findProgram, finished, surroundings } from './server-process.ts'

export interface KafkaOptions {
  /** What would stand in `server.properties`; overrides our own. A function is asked before the first start. */
  readonly settings?: Settings | ((ports: KafkaPorts) => Settings | Promise<Settings>)
}

type Settings = Readonly<Record<string, string>>

export interface KafkaPorts {
  readonly port: number
  readonly controllerPort: number
}

/** The reason why it cannot run here, to skip with; undefined where it can. */
export const missingKafka = (): string | undefined => {
  if (!isKafkaThere()) return 'Kafka is not installed: npm run servers:install'
  return javaVersion() < javaVersionMin ? `Kafka needs Java ${javaVersionMin}: npm run servers:install` : undefined
}

export const startKafka = async ({ settings = {} }: KafkaOptions = {}): Promise<Broker> => {
  const missing = missingKafka()
  const java = findProgram('java')
  if (missing !== undefined || java === undefined) throw new Error(missing)
  return startBroker({
    name: 'Kafka',
    morePorts: 1,
    url: (port) => `127.0.0.1:${port}`,
    prepare: async ({ folder, dataFolder, ports: [port, controllerPort = 0] }) => {
      const own = typeof settings === 'function' ? await settings({ port, controllerPort }) : settings
      const lines = {
        'process.roles': 'broker,controller',
        'node.id': '1',
        'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
        listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
        'controller.listener.names': 'CONTROLLER',
        'log.dirs': dataFolder,
        ...defaults,
        ...own,
      }
      const text = Object.entries(lines).map(([name, value]) => `${name}=${value}\n`)
      await writeFile(join(folder, 'server.properties'), text.join(''))
      await writeFile(join(folder, 'log4j2.properties'), logging)
      // An attempt on other ports may have been here, and what is formatted is not formatted again.
      await rm(join(dataFolder, 'meta.properties'), { force: true })
      const format = ['format', '--cluster-id', clusterId, '--config', join(folder, 'server.properties')]
      await finished(spawn(java, [...flags(folder), 'kafka.tools.StorageTool', ...format], { env }), 'formatting')
    },
    command: ({ folder }) => ({
      program: java,
      args: [...flags(folder), 'kafka.Kafka', join(folder, 'server.properties')],
      asOurselves: true,
    }),
    ready: async ({ ports: [port] }, log) => (await accepts(port)) && (await log()).includes('Kafka Server started'),
  })
}

/** One node cannot replicate; and a group need not wait for members that may come. */
const defaults = {
  // A broker that was killed is not let in again before its session has ended, which takes 9 seconds by default.
  'broker.session.timeout.ms': '3000',
  'broker.heartbeat.interval.ms': '500',
  'offsets.topic.replication.factor': '1',
  'offsets.topic.num.partitions': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'transaction.state.log.num.partitions': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
  'share.coordinator.state.topic.num.partitions': '1',
  'group.initial.rebalance.delay.ms': '0',
}

const logging = `
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
`

/** Clusters are told apart by their addresses here. */
const clusterId = 'cGFiYWwtdGVzdHMtMDAwMQ'

const env = surroundings.env

/** Quick to start rather than fast for long, and small: several may run on a small machine. */
const flags = (folder: string): string[] => [
  '-Xms64m',
  '-Xmx384m',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  `-Dlog4j2.configurationFile=${join(folder, 'log4j2.properties')}`,
  '-cp',
  join(kafkaLibs, '*'),
]
