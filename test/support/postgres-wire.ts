/** Reads what a client asks of Postgres from the bytes that it sends: the statements, as they are executed. */

/** Fed with all bytes of one connection in order; gives the statements that are complete and asked for by these. */
export type Reader = (bytes: Buffer) => readonly string[]

/** The requests for encryption and to cancel: messages of the startup after which the startup proper is still to come. */
const beforeStartup = new Set([80877102, 80877103, 80877104])

/** Simple queries by their text, prepared statements by the text that was prepared, each time that they are bound. */
export const postgresStatements = (): Reader => {
  const prepared = new Map<string, string>()
  let started = false
  let pending: Buffer = Buffer.alloc(0)

  const read = (type: string, body: Buffer): string[] => {
    const [first = '', second = ''] = body.toString('utf8').split('\0', 2)
    if (type === 'Q') return [first]
    if (type === 'P') prepared.set(first, second)
    if (type === 'B') return [prepared.get(second) ?? '']
    return []
  }

  return (bytes) => {
    pending = Buffer.concat([pending, bytes])
    const statements: string[] = []
    for (;;) {
      // A startup message has no type before its length, which counts itself but not the type.
      const typeBytes = started ? 1 : 0
      if (pending.length < typeBytes + 4) return statements
      const length = typeBytes + pending.readInt32BE(typeBytes)
      if (pending.length < length) return statements
      const message = pending.subarray(0, length)
      pending = pending.subarray(length)
      if (started) statements.push(...read(String.fromCharCode(message[0]!), message.subarray(5)))
      else started = !beforeStartup.has(message.readInt32BE(4))
    }
  }
}

/** For other protocols: whatever is in one piece that arrived, as text. */
export const rawText = (): Reader => (bytes) => [bytes.toString('latin1')]
