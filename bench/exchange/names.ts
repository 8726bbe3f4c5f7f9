/** Who publishes, and who receives. */

export const context = 'ordering'
export const subscriber = 'shipping'
