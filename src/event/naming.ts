/** Warnings for names that tell an intent or a CRUD action instead of what happened. */

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/))

/** Past forms and participles that do not end in -ed. With a prefix ('rebuilt', 'misread') they are found too. */
const irregular = words(`
  arisen arose ate awoke awoken beaten been began begotten begun bent bitten blew blown borne bought brought broke broken built burnt
  came caught chose chosen crept dealt did done drank drawn dreamt drew driven drove drunk dug eaten fallen flew flown fought flung
  forbade forbidden forgave forgiven forgone forgot forgotten froze frozen gave given gone got gotten grew grown had heard held hid
  hidden hung kept knelt knew known laid lain learnt leapt lent lost made meant met misled mistaken mown overdue paid proven ran rang ridden
  risen rode rung said sang sank sat seen sent sewn shaken shaven shone shot shown shrank shrunk slain slept slid slung sold sought sown
  spent spoilt spoke spoken sprang sprung spun stole stolen stood stricken strode struck strung stuck stung sung sunk swam swept swollen
  swore sworn swum swung taken taught thought threw thrown told took tore torn trodden understood undone went wept withdrawn withdrew
  withheld woke woken won wore worn wove woven written wrote wrung
`)
/** The past form is a present one too, or a thing: 'price-set' happened, 'set-price' is an intent. */
const ambiguous = words(`
  become bet bid bound broadcast burst cast come cost cut fell felt fit forecast found ground hit hurt knit lay led left let lit outbid
  overcome overrun put quit read reread rerun reset rid rose run saw set shed shut slit split spread thrust undercut upset wed wound
`)
/** They end in -ed and tell no past. */
const present = words('bed embed hundred infrared kindred moped naked red sacred wicked')
const agreed = /(?:agr|fr|guarant|decr|refer)eed$/
const prefix = /^(?:fore|inter|mis|out|over|pre|re|under|un|up)(?=...)/

const isPast = (word: string, index: number): boolean => {
  if (irregular.has(word) || irregular.has(word.replace(prefix, ''))) return true
  if (ambiguous.has(word)) return index > 0
  return word.endsWith('eed') ? agreed.test(word) : word.endsWith('ed') && !present.has(word)
}

const crud = words('created updated deleted inserted modified changed saved upserted')

/**
 * What is wrong with an event's name, or undefined. A name should end in what happened ('order-placed'): not in an intent
 * ('place-order'), nor in what was done to a row ('order-updated').
 */
export const nameWarning = (type: string): string | undefined => {
  const local = type.slice(type.indexOf('.') + 1).replace(/\.v\d+$/, '')
  // The last one is what the name tells: in 'saved-search-shared' nothing was saved.
  const past = local.split(/[-_.]/).findLast((word, index) => isPast(word, index))
  if (past === undefined) return `'${type}' does not tell what happened; use the past tense, such as 'order-placed'`
  if (crud.has(past))
    return `'${type}' tells what was done to a row ('${past}'); name what happened in the domain, such as 'address-corrected'`
  return undefined
}
