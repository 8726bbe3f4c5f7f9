/** `pabal/claim-check`: payloads that are too large for a broker, kept beside it. */

export { claimCheck, type ClaimCheckOptions, type PayloadStore } from './claim-check.ts'
export { filePayloads } from './files.ts'
export { type S3Client, s3Payloads, type S3PayloadsOptions } from './s3.ts'
