/** What belongs to the house: names of what operators do, beside the user's events in the same log. */

/** Types of operators' actions begin so; no definition may. */
export const operatorTypePrefix = 'pabal.'

/** Keys of operators' actions begin so, so that they share no sequence with a user's key, and can be counted by the index of keys. */
export const operatorKeyPrefix = 'pabal:'

export const isOperatorType = (type: string): boolean => type.startsWith(operatorTypePrefix)
