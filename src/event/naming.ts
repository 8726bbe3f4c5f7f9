/** Warnings for names that tell an intent or a CRUD action instead of what happened. */

const irregular = new Set(
  (
    'arisen awoken been become begun bet bound bent bid bitten blown bought broken brought broadcast built burnt burst caught chosen come cut ' +
    'dealt done drawn driven dug eaten fallen fed felt fought found flown forbidden foreseen forgotten forgiven frozen given gone got gotten ' +
    'grown had heard held hidden hit hurt kept known laid led left lent let lit lost made meant met overdue paid put quit read ridden risen ' +
    'run said seen sent set shaken shown shrunk shut sold spent split spread stolen stood stuck sunk sworn swept taken taught thought thrown ' +
    'told understood undone upheld withdrawn withheld won worn written'
  ).split(' '),
)
const crud = new Set(['created', 'updated', 'deleted', 'inserted', 'modified', 'changed', 'saved', 'upserted'])
const tense = (word: string): boolean => irregular.has(word) || word.endsWith('ed')

/**
 * What is wrong with an event's name, or undefined. A name should end in what happened ('order-placed'): not in an intent
 * ('place-order'), nor in what was done to a row ('order-updated').
 */
export const nameWarning = (type: string): string | undefined => {
  const local = type.slice(type.indexOf('.') + 1).replace(/\.v\d+$/, '')
  const words = local.split(/[-_.]/)
  const crudWord = words.find((word) => crud.has(word))
  if (crudWord !== undefined)
    return `'${type}' tells what was done to a row ('${crudWord}'); name what happened in the domain, such as 'address-corrected'`
  if (!words.some(tense)) return `'${type}' does not tell what happened; use the past tense, such as 'order-placed'`
  return undefined
}
