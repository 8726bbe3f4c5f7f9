/** Cuts rows for multi-row statements: so small that few shapes of a statement are prepared, so large that few are run. */

const chunkRows = 20

export function* inChunks<Row>(rows: readonly Row[]): Generator<readonly Row[]> {
  for (let from = 0; from < rows.length; from += chunkRows) yield rows.slice(from, from + chunkRows)
}
