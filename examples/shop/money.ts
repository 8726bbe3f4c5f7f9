/** Integer pence as people read them. */

const format = new Intl.NumberFormat('en-GB', { style: 'currency', currency: 'GBP' })

/** 123456 → '£1,234.56' */
export const pounds = (pence: number): string => format.format(pence / 100)
