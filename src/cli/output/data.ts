/** Payloads for people: as indented JSON, and what is different between two. */

import { Painted, type Palette, visibleJson } from './text.ts'

export const dataLines = (data: unknown): Painted[] =>
  visibleJson(JSON.stringify(data, undefined, 2))
    .split('\n')
    .map((text) => new Painted(text))

/** Paths that differ, old and new side by side. */
export const changeLines = (paint: Palette, before: unknown, after: unknown): Painted[] => {
  const [old, next] = [leaves(before), leaves(after)]
  const paths = [...new Set([...old.keys(), ...next.keys()])].filter((path) => old.get(path) !== next.get(path))
  return paths.flatMap((path) => [
    ...(old.has(path) ? [paint.bad(`- ${path}: ${old.get(path)!}`)] : []),
    ...(next.has(path) ? [paint.good(`+ ${path}: ${next.get(path)!}`)] : []),
  ])
}

/** Every value that is no container, as JSON, by its path. */
const leaves = (data: unknown, path = '', found = new Map<string, string>()): Map<string, string> => {
  if (typeof data !== 'object' || data === null || Object.keys(data).length === 0)
    return found.set(path || '(root)', visibleJson(JSON.stringify(data) ?? 'undefined'))
  for (const [name, value] of Object.entries(data))
    leaves(value, Array.isArray(data) ? `${path}[${name}]` : path === '' ? name : `${path}.${name}`, found)
  return found
}
