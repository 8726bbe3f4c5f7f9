import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { describe, expect, it } from 'vitest'
import { importsOf } from '../../test/support/imports.ts'

const contexts = ['ordering', 'payment', 'warehouse', 'delivery', 'notification', 'reporting']

/** Path below examples/shop → what it imports, relative ones as paths below it too. */
const imports = new Map(
  readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts') && !path.startsWith('testing/'))
    .map((path) => {
      const found = importsOf(readFileSync(join(import.meta.dirname, path), 'utf8')).map(({ specifier }) =>
        specifier.startsWith('.') ? posix.normalize(posix.join(posix.dirname(path), specifier)) : specifier,
      )
      return [path, found]
    }),
)

const importsBelow = (folder: string) =>
  [...imports].flatMap(([path, found]) => (path.startsWith(`${folder}/`) ? found : []))

describe('the house of the shop', () => {
  it('has contracts that import nothing but pabal/contract and zod', () => {
    const found = new Set(importsBelow('contracts'))
    expect([...found].toSorted()).toEqual(['pabal/contract', 'zod'])
  })

  it.each(contexts)('has %s know its own files and contracts, and no other context', (context) => {
    const others = importsBelow(context).filter(
      (path) =>
        contexts.some((other) => other !== context && path.startsWith(`${other}/`)) || path.startsWith('retail/'),
    )
    expect(importsBelow(context).length).toBeGreaterThan(0)
    expect(others).toEqual([])
  })

  it('has the retail file known only to what translates and imports it', () => {
    const knowing = [...imports].filter(
      ([path, found]) => !path.startsWith('retail/') && found.some((to) => to.startsWith('retail/')),
    )
    expect(knowing.map(([path]) => path).toSorted()).toEqual(['import-orders.ts', 'shop-error.ts', 'start.ts'])
    expect([...imports].filter(([, found]) => found.includes('csv-parse')).map(([path]) => path)).toEqual([
      'retail/rows.ts',
    ])
  })

  it('has a delivery service that is a stranger to the shop', () => {
    const reached = new Set<string>()
    const walk = (path: string): void => {
      if (reached.has(path)) return
      reached.add(path)
      for (const to of imports.get(path) ?? []) walk(to)
    }
    walk('delivery-service.ts')
    expect(
      [...reached].filter((path) => path.startsWith('pabal') || contexts.some((name) => path.startsWith(`${name}/`))),
    ).toEqual([])
  })
})
