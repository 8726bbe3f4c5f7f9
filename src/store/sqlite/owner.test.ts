import { spawnSync } from 'node:child_process'
import { hostname } from 'node:os'
import { expect, test } from 'vitest'
import { isGone, newOwner } from './owner.ts'

test('each open database of a process is an owner of its own, and is there', () => {
  const owners = [newOwner(), newOwner()]
  expect(owners[0]).not.toBe(owners[1])
  for (const owner of owners) expect(isGone(owner)).toBe(false)
})

test('an owner whose process has ended is gone', () => {
  const { pid } = spawnSync(process.execPath, ['--version'])
  expect(isGone(`${hostname()}:${pid}::abcdefgh`)).toBe(true)
})

test.runIf(process.platform === 'linux')('an owner whose pid another process has now is gone', () => {
  const [host, pid, start, rest] = newOwner().split(':')
  expect(start).toMatch(/^\d+$/)
  expect(isGone([host, pid, String(Number(start) - 1), rest].join(':'))).toBe(true)
})

test.each([
  'another-host:1:2:abcdefgh',
  `${hostname()}:0:2:abcdefgh`,
  `${hostname()}:-1:2:abcdefgh`,
  `${hostname()}:me:2:abcdefgh`,
  'no owner of ours',
  '',
])('of an owner that cannot be looked at nobody says that it is gone: %j', (owner) => {
  expect(isGone(owner)).toBe(false)
})
