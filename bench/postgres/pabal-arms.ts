/** pabal, on a plain pool and on one that pipelines. */

import type { Arm } from './arm.ts'
import { append, fill, setUp } from './pabal-append.ts'
import { consume } from './pabal-consume.ts'
import { drain } from './pabal-drain.ts'
import { tick } from './pabal-tick.ts'

export const pabal: Arm = {
  name: 'pabal',
  note: 'One unit per transaction in a started app, until every event has its position.',
  setUp,
  append: append({ pipeline: false }),
  fill,
  keeps: true,
  drain: drain({ pipeline: false }),
  tick,
  consume,
}

export const pabalPipelined: Arm = {
  name: 'pabal, pipelined',
  note: 'The same on `new Pool({ pipeline: true })`.',
  setUp,
  append: append({ pipeline: true }),
  fill,
  keeps: true,
  drain: drain({ pipeline: true }),
}

export const pabalReading: Arm = {
  name: 'pabal, the handler reads the payload',
  note: 'A payload is parsed where it is asked for; by hand, and in the libraries, it always is.',
  setUp,
  fill,
  keeps: true,
  drain: drain({ pipeline: false, reads: true }),
}

export const pabalOneLane: Arm = {
  name: 'pabal, 1 lane',
  setUp,
  fill,
  keeps: true,
  drain: drain({ pipeline: false, lanes: 1 }),
}

/** Appends in an app that runs no handlers and was not started, as a web process does. */
export const pabalUnstarted: Arm = {
  name: 'pabal',
  setUp,
  append: append({ pipeline: false, start: false }),
  fill,
  keeps: true,
  drain: drain({ pipeline: false }),
  consume,
}
