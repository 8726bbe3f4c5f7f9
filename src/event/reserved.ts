/** What belongs to the house: names of what operators do, beside the user's events in the same log. */

/** Types of operators' actions begin so; no definition may. */
export const operatorTypePrefix = 'pabal.'

/** Keys of operators' actions begin so, so that they share no sequence with a user's key, and can be counted by the index of keys. */
export const operatorKeyPrefix = 'pabal:'

/** Keys of what was received from other contexts begin so: theirs and ours do not meet. */
export const receivedKeyPrefix: string = `${operatorKeyPrefix}received:`

export const isOperatorType = (type: string): boolean => type.startsWith(operatorTypePrefix)
