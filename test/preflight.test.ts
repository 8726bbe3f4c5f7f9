import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const { engines, scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  engines: { node: string }
  scripts: Record<string, string>
}

function preflight(...args: string[]) {
  const { status, stderr, stdout } = spawnSync(process.execPath, ['tools/preflight.mjs', ...args], { encoding: 'utf8' })
  return { status, stderr, stdout }
}

test('the Node that runs the tests passes without a word', () => {
  expect(preflight()).toEqual({ status: 0, stderr: '', stdout: '' })
})

test.each(['v22.18.0', 'v22.22.1', 'v24.0.0', 'v26.3.0'])('%s passes', (version) => {
  expect(preflight(version).status).toBe(0)
})

test.each(['v12.22.12', 'v20.20.2', 'v22.17.1', 'v23.11.0'])(
  '%s is turned away with what was found, what is needed and the remedy',
  (version) => {
    const { status, stderr } = preflight(version)

    expect(status).toBe(1)
    expect(stderr).toContain(version)
    expect(stderr).toContain(engines.node)
    expect(stderr).toContain('npm ci')
  },
)

test('it stands in no hook that npm runs where the published package is installed', () => {
  expect(Object.keys(scripts)).not.toEqual(
    expect.arrayContaining([expect.stringMatching(/^(?:(?:pre|post)?install|prepare)$/)]),
  )
})
