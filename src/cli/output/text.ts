/** Text that is safe for a terminal: what comes from data can neither steer it nor forge a line. */

import { styleText } from 'node:util'
import stringWidth from 'string-width'

/** Control characters, those that turn the direction of writing, separators of lines, and lone surrogates. */
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Cs}/gu

const escaped = (character: string): string => {
  const code = character.codePointAt(0)!
  if (character === '\n') return '\\n'
  if (character === '\t') return '\\t'
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`
}

/** One line, nothing hidden. */
export const visible = (value: string): string => value.replace(unsafe, escaped)

/** JSON text stays the same JSON: inside of its strings these characters have an escape, and outside of them they cannot be. */
export const visibleJson = (json: string): string =>
  json.replace(unsafe, (character) =>
    character === '\n' ? character : `\\u${character.codePointAt(0)!.toString(16).padStart(4, '0')}`,
  )

type Style = Parameters<typeof styleText>[0]

/** Text that was made safe, and may carry colours of our own. */
export class Painted {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
  get width(): number {
    return stringWidth(this.text)
  }
}

export type Paintable = Painted | string | number

const safe = (value: Paintable): string => (value instanceof Painted ? value.text : visible(String(value)))

/** A template whose parts are made safe unless they are painted already. */
export const line = (parts: TemplateStringsArray, ...values: readonly Paintable[]): Painted =>
  new Painted(parts.reduce((text, part, index) => text + safe(values[index - 1]!) + part))

export const joined = (values: readonly Paintable[], separator: string): Painted =>
  new Painted(values.map(safe).join(separator))

type Paint = (value: Paintable) => Painted

export interface Palette {
  readonly bold: Paint
  readonly dim: Paint
  readonly bad: Paint
  readonly good: Paint
  readonly careful: Paint
  /** What to type. */
  readonly command: Paint
}

export const createPalette = (colored: boolean): Palette => {
  const style =
    (name: Style): Paint =>
    (value) =>
      new Painted(colored ? styleText(name, safe(value), { validateStream: false }) : safe(value))
  return {
    bold: style('bold'),
    dim: style('dim'),
    bad: style('red'),
    good: style('green'),
    careful: style('yellow'),
    command: style('cyan'),
  }
}

export const plain = (value: Paintable): Painted => new Painted(safe(value))

/** Cut to a width, with a sign that it was. */
export const cut = (value: string, width: number): string => {
  const text = visible(value)
  if (stringWidth(text) <= width) return text
  let kept = ''
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    if (stringWidth(kept + segment) > width - 1) break
    kept += segment
  }
  return `${kept}…`
}
