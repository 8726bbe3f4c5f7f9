/**
 * Where the parts of a JSON text begin and end, so that a value can be taken out letter for letter, and a name that is there twice
 * is seen. The text is valid JSON: the caller has parsed it.
 */

/** The members of an object, each value with the white space around it. */
export function* membersOf(text: string): Generator<readonly [name: string, value: string]> {
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', at)) {
    const nameEnd = afterString(text, at)
    const begin = text.indexOf(':', nameEnd) + 1
    const end = endOfValue(text, begin)
    // A name may be written with escapes: "\u0069d" is "id".
    yield [JSON.parse(text.slice(at, nameEnd)) as string, text.slice(begin, end)]
    at = end
  }
}

/** The items of an array, each with the white space around it. */
export function* itemsOf(text: string): Generator<string> {
  for (let at = text.indexOf('[') + 1; at < text.length; ) {
    const end = endOfValue(text, at)
    const item = text.slice(at, end)
    // Only an empty array has an empty place.
    if (item.trim() !== '') yield item
    if (text[end] === ']') return
    at = end + 1
  }
}

const [quote, backslash, comma] = [0x22, 0x5c, 0x2c]
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d]

/** The index after the string that begins at `at`. */
const afterString = (text: string, at: number): number => {
  for (let i = at + 1; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === backslash) i++
    else if (unit === quote) return i + 1
  }
  return text.length
}

/** The index of the comma or the bracket that ends the value that begins at `at`. */
const endOfValue = (text: string, at: number): number => {
  let depth = 0
  for (let i = at; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === quote) i = afterString(text, i) - 1
    else if (unit === openList || unit === openObject) depth++
    else if (depth === 0 && (unit === comma || unit === closeList || unit === closeObject)) return i
    else if (unit === closeList || unit === closeObject) depth--
  }
  return text.length
}
