import { readdirSync, readFileSync } from 'node:fs'
import { defineContext, defineEvent } from 'pabal'
import { sqlite } from 'pabal/sqlite'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { DurableSpec } from '../../src/context/handler.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { defaultBreaker } from '../../src/subscription/breaker.ts'
import { defaultLeaseMs } from '../../src/subscription/subscription.ts'
import { codeIn, pageAt, rowsOf } from './pages.ts'

const rows = rowsOf(pageAt('docs/reference/defaults.md'))
const constant = / in `([^`]+)`$/
const source = (path: string): string => readFileSync(`src/${path}`, 'utf8')
const numberIn = (text: string): number => Number(/-?[\d,_]+/.exec(text)?.[0].replaceAll(/[,_]/g, ''))
const literal = (path: string, pattern: RegExp): number => numberIn(pattern.exec(source(path))?.[1] ?? '')

const Happened = defineEvent('c.something-happened', { schema: z.object({ id: z.string() }), key: ({ id }) => id })
const context = defineContext('c', { store: sqlite, events: [Happened] })
const database = context.on(Happened, 'database', () => {})['~pabal'].spec as DurableSpec
const external = context.on(Happened, 'external', () => {}, { effects: 'external' })['~pabal'].spec as DurableSpec

const inCode: Readonly<Record<string, number>> = {
  ...Object.fromEntries(Object.entries(defaultLimits).map(([name, value]) => [`\`limits.${name}\``, Number(value)])),
  '`batch` (database effects)': database.batch,
  '`batch` (external effects)': external.batch,
  '`concurrency`': external.concurrency,
  '`timeout`': external.timeoutMs,
  '`retry.attempts`': database.retry.attempts,
  '`retry.first`': database.retry.firstMs,
  '`retry.max`': database.retry.maxMs,
  '`lanes`': literal('store/sqlite/database.ts', /readonly defaultLanes = (\d+)/),
  '`createApp({ leaseMs })`': defaultLeaseMs,
  '`createApp({ breaker: { keys } })`': defaultBreaker.keys,
  '`createApp({ breaker: { firstMs } })`': defaultBreaker.firstMs,
  '`createApp({ breaker: { maxMs } })`': defaultBreaker.maxMs,
  '`app.stop({ graceMs })`': literal('app/app.ts', /const defaultGraceMs = ([\d_]+)/),
  '`busyTimeoutMs`': literal('store/sqlite/database.ts', /options\.busyTimeoutMs \?\? ([\d_]+)/),
  "an event's type": literal('event/definition.ts', /type\.length > (\d+)/),
  'a key': literal('event/definition.ts', /value\.length > (\d+)/),
  "a handler's name": literal('context/handler.ts', /consumerName\.test\(name\) \|\| name\.length > (\d+)/),
  "a context's name": literal('context/definition.ts', /contextName\.test\(name\) && name\.length <= (\d+)/),
}

describe('the page of defaults', () => {
  test.each(rows.filter(([name]) => !constant.test(name ?? '')))('%s is %s', (name, value) => {
    expect(numberIn(value ?? '')).toBe(inCode[name ?? ''])
  })

  test('has every default', () => {
    const listed = rows.map(([name = '']) => name).filter((name) => !constant.test(name))
    expect(listed.toSorted()).toEqual(Object.keys(inCode).toSorted())
  })

  test('has every number that a file of these folders names, and each as it is there', () => {
    const known = new Set(['defaultLeaseMs in subscription/subscription.ts', 'defaultGraceMs in app/app.ts'])
    const named = ['core', 'event', 'store', 'context', 'subscription', 'exchange', 'app'].flatMap((folder) =>
      readdirSync(`src/${folder}`, { recursive: true, encoding: 'utf8' })
        .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
        .flatMap((path) => numbersIn(`${folder}/${path.replaceAll('\\', '/')}`)),
    )
    const listed = rows.flatMap(([name = '', value = '']) =>
      constant.test(name) ? [`${codeIn(name).join(' in ')}: ${numberIn(value)}`] : [],
    )
    expect(listed.toSorted()).toEqual(named.filter((found) => !known.has(found.replace(/: .*/, ''))).toSorted())
  })
})

/** Constants at the top of a file whose value is a number. */
function numbersIn(path: string): string[] {
  return [...source(path).matchAll(/^(?:export )?const (\w+) = ([\d_]+)$/gm)].map(
    ([, name = '', value = '']) => `${name} in ${path}: ${numberIn(value)}`,
  )
}
