/** Where the Kafka of the tests stands, and whether all of it is there: `servers:install` brings it, the tests start it. */

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')

/** What Maven is asked for. */
export const kafkaPom = join(root, 'tools/kafka-pom.xml')
export const kafkaFolder = join(root, '.servers/kafka')
export const kafkaLibs = join(kafkaFolder, 'libs')
/** A copy of the pom, written when everything else is there: another text means other versions. */
export const kafkaMark = join(kafkaFolder, 'pom.xml')

export const isKafkaThere = (): boolean => {
  const mark = read(kafkaMark)
  return mark !== undefined && mark === read(kafkaPom)
}

/** Kafka 4 needs this version. */
export const javaVersionMin = 17

/** The major version of the Java on PATH; 0 where there is none. */
export const javaVersion = (): number => {
  const { stderr } = spawnSync('java', ['-version'], { encoding: 'utf8' })
  return Number(/version "(\d+)/.exec(stderr ?? '')?.[1] ?? 0)
}

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
