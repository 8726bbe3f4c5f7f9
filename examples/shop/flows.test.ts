import { describeFlows } from './testing/flows.ts'
import { inFiles } from './testing/test-shop.ts'

describeFlows(inFiles)
