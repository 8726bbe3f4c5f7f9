/** What stops an import: the file as a whole cannot be read. A single unreadable line never does (see `row.ts`). */

export type ShopInputErrorCode =
  | 'SHOP_FILE_NOT_FOUND'
  | 'SHOP_FILE_UNREADABLE'
  | 'SHOP_FILE_NOT_CSV'
  | 'SHOP_FILE_TRUNCATED'

const remedies: Record<ShopInputErrorCode, string> = {
  SHOP_FILE_NOT_FOUND: 'Check the path after --orders; it is taken from the current folder.',
  SHOP_FILE_UNREADABLE: 'Give the path of an ordinary file that this user may read.',
  SHOP_FILE_NOT_CSV:
    'Give a comma-separated UTF-8 text file, plain or gzipped, whose first line names the columns InvoiceNo, StockCode, Quantity, InvoiceDate, UnitPrice, CustomerID and Country.',
  SHOP_FILE_TRUNCATED:
    'Fetch the file again and import it into the same folder: what was already received is not received twice.',
}

/** `message` says what is wrong with which file, `remedy` what to do about it. */
export class ShopInputError extends Error {
  override readonly name = 'ShopInputError'
  readonly code: ShopInputErrorCode
  readonly remedy: string

  constructor(code: ShopInputErrorCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
    this.remedy = remedies[code]
  }
}
