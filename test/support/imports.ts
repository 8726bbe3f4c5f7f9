/** The modules that a TypeScript source names: static, re-exported, dynamic and type-only, in the order of the text. */

export interface Import {
  readonly specifier: string
  readonly line: number
}

// TypeScript 7 offers no compiler API, and Node's type stripping loses type-only imports. This reads tokens instead: it
// steps over comments, templates and regular expressions, and takes each string that follows an importing keyword.
const token = new RegExp(
  [
    /\/\*[\s\S]*?\*\//, // comment
    /\/\/[^\n]*/, // comment to the end of the line
    /`(?:\\[\s\S]|[^`\\])*`/, // template
    /(?<=(?:[(,=:[!&|?{};+\-*%~^<>\n]|\breturn)\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\//, // regular expression
    /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/, // string
  ]
    .map((part) => part.source)
    .join('|'),
  'g',
)

const importing = /(?:\bfrom|\bimport|\bimport\s*\(|\brequire\s*\()\s*$/

export function importsOf(source: string): Import[] {
  const found: Import[] = []
  let code = ''
  let end = 0
  for (const { 0: text, index } of source.matchAll(token)) {
    code += source.slice(end, index)
    end = index + text.length
    const isComment = text.startsWith('//') || text.startsWith('/*')
    if (isComment) continue
    const isString = text.startsWith("'") || text.startsWith('"')
    if (isString && importing.test(code))
      found.push({ specifier: text.slice(1, -1), line: source.slice(0, index).split('\n').length })
    code = '""'
  }
  return found
}
