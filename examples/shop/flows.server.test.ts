import { describe } from 'vitest'
import { missingPostgres } from '../../test/support/postgres.ts'
import { titled } from '../../test/support/require-server.ts'
import { describeFlows } from './testing/flows.ts'
import { inSchemas } from './testing/on-postgres.ts'

const missing = missingPostgres()
describe.skipIf(missing)(titled('the shop on Postgres', missing), { retry: 2 }, () => {
  describeFlows(inSchemas)
})
