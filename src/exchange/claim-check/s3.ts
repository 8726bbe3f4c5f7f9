/** Payloads in a bucket of S3, or of anything that speaks its language. */

import { PabalError } from '../../core/errors.ts'
import type { PayloadStore } from './claim-check.ts'

/** What is used of `new S3({ … })` of @aws-sdk/client-s3 3. */
export interface S3Client {
  putObject(request: {
    readonly Bucket: string
    readonly Key: string
    readonly Body: Uint8Array
    readonly ContentType: string
  }): Promise<unknown>
  getObject(request: { readonly Bucket: string; readonly Key: string }): Promise<{
    readonly ContentLength?: number | undefined
    readonly Body?: { transformToByteArray(): Promise<Uint8Array> } | undefined
  }>
}

export interface S3PayloadsOptions {
  readonly s3: S3Client
  /** Has to be there. A lifecycle rule of it deletes what is old. */
  readonly bucket: string
  /** Before all keys: `'payloads/'`. Default none. */
  readonly prefix?: string
}

/** Rights: `s3:PutObject` for who publishes, `s3:GetObject` for who receives; without `s3:ListBucket` what is missing looks denied. */
export const s3Payloads = ({ s3, bucket: Bucket, prefix = '' }: S3PayloadsOptions): PayloadStore => ({
  put: async (name, Body) => {
    await s3.putObject({ Bucket, Key: `${prefix}${name}`, Body, ContentType: 'application/json' })
  },
  get: async (name, bytesMost) => {
    const Key = `${prefix}${name}`
    try {
      const { Body, ContentLength = 0 } = await s3.getObject({ Bucket, Key })
      if (ContentLength > bytesMost)
        throw new PabalError('PABAL_PAYLOAD_TOO_LARGE', `${Key} has ${ContentLength} bytes, ${bytesMost} are read`)
      return (await Body?.transformToByteArray()) ?? new Uint8Array()
    } catch (error) {
      if (error instanceof Error && error.name === 'NoSuchKey') return undefined
      throw error
    }
  },
})
