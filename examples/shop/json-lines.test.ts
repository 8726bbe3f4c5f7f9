import { appendFile, mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { type JsonLine, openJsonLines, readJsonLines } from './json-lines.ts'

async function newPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shop-lines-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return join(folder, 'new', 'lines.jsonl')
}

async function readAll(path: string): Promise<JsonLine[]> {
  const lines: JsonLine[] = []
  for await (const line of readJsonLines(path)) lines.push(line)
  return lines
}

async function valuesIn(path: string): Promise<unknown[]> {
  return (await readAll(path)).flatMap((line) => (line.torn ? [] : [line.value]))
}

describe('a file of JSON lines', () => {
  it('has the records of all calls in their order, also when nobody waits in between', async () => {
    const path = await newPath()
    await using lines = await openJsonLines(path)
    await Promise.all(Array.from({ length: 100 }, (_, n) => lines.append([{ n }, { n, again: true }])))
    expect(await valuesIn(path)).toEqual(Array.from({ length: 100 }, (_, n) => [{ n }, { n, again: true }]).flat())
  })

  it('is empty if it is not there', async () => {
    expect(await readAll('/no/such/lines.jsonl')).toEqual([])
  })

  it('keeps any text, line separators of Unicode among it', async () => {
    const path = await newPath()
    await using lines = await openJsonLines(path)
    const all: object[] = []
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async (text) => {
        all.push({ text: `${text}\u2028\n\r\u0000한국` })
        await lines.append(all.slice(-1))
      }),
    )
    expect(await valuesIn(path)).toEqual(all)
  })

  it('loses no whole line wherever a crash tears the last one off', async () => {
    const path = await newPath()
    const first = `${JSON.stringify({ n: 1 })}\n`
    const second = JSON.stringify({ n: 2, text: '배송' })
    for (let bytes = 0; bytes <= Buffer.byteLength(second); bytes++) {
      {
        await using _ = await openJsonLines(path)
      }
      await writeFile(path, first + second)
      await truncate(path, Buffer.byteLength(first) + bytes)
      {
        await using lines = await openJsonLines(path)
        await lines.append([{ n: 3 }])
      }
      const isWhole = bytes === Buffer.byteLength(second)
      expect(await valuesIn(path)).toEqual([{ n: 1 }, ...(isWhole ? [JSON.parse(second)] : []), { n: 3 }])
      expect((await readAll(path)).filter(({ torn }) => torn)).toHaveLength(isWhole || bytes === 0 ? 0 : 1)
    }
  })

  it('mends a line that another process tore off meanwhile', async () => {
    const path = await newPath()
    await using lines = await openJsonLines(path)
    await lines.append([{ n: 1 }])
    await appendFile(path, '{"n":2')
    await lines.append([{ n: 3 }])
    expect(await readFile(path, 'utf8')).toBe('{"n":1}\n{"n":2\n{"n":3}\n')
  })

  it('appends again what another process, dying between our look and our write, has torn off with it', async () => {
    const path = await newPath()
    await using lines = await openJsonLines(path)
    await lines.append([{ n: 1 }])
    const handle = await open(path)
    const files = Object.getPrototypeOf(handle) as { write: (text: string) => Promise<unknown> }
    await handle.close()
    const { write } = files
    vi.spyOn(files, 'write').mockImplementationOnce(async function (this: unknown, text) {
      await appendFile(path, '{"n":2')
      return write.call(this, text)
    })
    await lines.append([{ n: 3 }, { n: 4 }])
    expect(await valuesIn(path)).toEqual([{ n: 1 }, { n: 4 }, { n: 3 }, { n: 4 }])
  })

  it('swallows the next line if a torn one is not mended: the guard is needed', async () => {
    const path = await newPath()
    await using lines = await openJsonLines(path)
    await lines.append([{ n: 1 }])
    await appendFile(path, '{"n":2')
    await appendFile(path, '{"n":3}\n')
    expect(await valuesIn(path)).toEqual([{ n: 1 }])
  })
})
