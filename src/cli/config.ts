/** `pabal.config.ts`: where the command line finds the app. It is loaded, never started. */

import { existsSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { App } from '../app/app.ts'
import { isPabalError, PabalError } from '../core/errors.ts'

const names = ['pabal.config.ts', 'pabal.config.mts', 'pabal.config.js', 'pabal.config.mjs']

/** In this folder or the nearest one above. @throws PABAL_CONFIG_INVALID */
export const findConfig = (folder: string): string => {
  for (let at = resolve(folder); ; at = dirname(at)) {
    const found = names.map((name) => join(at, name)).find((path) => existsSync(path))
    if (found !== undefined) return found
    if (dirname(at) === at) break
  }
  throw new PabalError('PABAL_CONFIG_INVALID', `no ${names[0]} in ${folder} or above`)
}

const isApp = (value: unknown): value is App =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as { '~pabal'?: { open?: unknown } })['~pabal']?.open === 'function'

/**
 * The app that a configuration exports as its default, or gives when called.
 * @throws PABAL_CONFIG_INVALID, and what the app's own definitions throw
 */
export const loadApp = async (path: string): Promise<App> => {
  const shown = relative(process.cwd(), path) || path
  if (!existsSync(path) || !statSync(path).isFile())
    throw new PabalError('PABAL_CONFIG_INVALID', `there is no file ${shown}`)
  try {
    const module = (await import(pathToFileURL(path).href)) as { readonly default?: unknown }
    const exported = module.default
    const app: unknown = typeof exported === 'function' ? await (exported as () => unknown)() : exported
    if (isApp(app)) return app
    throw new PabalError('PABAL_CONFIG_INVALID', `${shown} ${whatItGives(exported, app)}, not an app of createApp`)
  } catch (error) {
    // A definition that is wrong has its own code, and says more.
    if (isPabalError(error)) throw error
    throw new PabalError('PABAL_CONFIG_INVALID', `${shown} could not be loaded: ${String(error)}${placeOf(error)}`, {
      cause: error,
    })
  }
}

const kindOf = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value)

const whatItGives = (exported: unknown, app: unknown): string => {
  if (exported === undefined) return 'has no default export'
  return typeof exported === 'function' ? `exports a function that gives ${kindOf(app)}` : `exports ${kindOf(app)}`
}

/** The first frame outside of Node, where the person has to look. */
const placeOf = (error: unknown): string => {
  const frames = error instanceof Error ? (error.stack ?? '').split('\n') : []
  const frame = frames.map((each) => each.trim()).find((each) => each.startsWith('at ') && !each.includes('node:'))
  return frame === undefined ? '' : ` (${frame})`
}
