/** What is said where SNS and SQS are not, or let nobody in. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SNS } from '@aws-sdk/client-sns'
import { SQS } from '@aws-sdk/client-sqs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { awsClients } from '../../../test/support/aws-clients.ts'
import { messages, ordering, quick } from '../../../test/support/sns-sqs-bench.ts'
import { systemEnvironment } from '../../core/environment.ts'
import { snsSqsTransport, type SnsSqsTransportOptions } from './transport.ts'

describe('without SNS and SQS', { timeout: 180_000 }, () => {
  const unreachable = (message: RegExp) => ({
    code: 'PABAL_TRANSPORT_UNREACHABLE',
    message: expect.stringMatching(message),
  })
  const attempt = async (options: Pick<SnsSqsTransportOptions, 'sns' | 'sqs'>) => {
    const open = await snsSqsTransport({ ...options, ...quick }).open({
      environment: systemEnvironment,
      warn: () => {},
    })
    return {
      publish: () => open.publish(ordering, messages('a', 1, 1), AbortSignal.timeout(20_000)),
      receive: () => open.receive(ordering, 'shipping', async (batch) => batch.map(() => undefined)),
    }
  }

  test('a wrong endpoint is said', async () => {
    using clients = awsClients('http://127.0.0.1:1')
    const { publish, receive } = await attempt(clients)
    await expect(publish()).rejects.toMatchObject(unreachable(/sns:CreateTopic.*ECONNREFUSED/))
    await expect(receive()).rejects.toMatchObject(unreachable(/ECONNREFUSED/))
  })

  test('something else at the endpoint is said', async () => {
    const server = createServer((_, response) => response.writeHead(404, { 'content-type': 'text/html' }).end('<p>Hi'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    using clients = awsClients(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const { publish } = await attempt(clients)
    await expect(publish()).rejects.toMatchObject(unreachable(/sns:CreateTopic/))
  })

  // The emulator looks at no credentials: this is what AWS answers.
  test('wrong credentials and missing rights are said', async () => {
    const answers = {
      sns: `<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid.</Message></Error><RequestId>1</RequestId></ErrorResponse>`,
      sqs: '{"__type":"com.amazon.coral.service#AccessDeniedException","message":"not authorized to perform: sqs:getqueueurl"}',
    }
    const server = createServer((request, response) => {
      const isSqs = request.headers['x-amz-target'] !== undefined
      const type = isSqs ? 'application/x-amz-json-1.0' : 'text/xml'
      response.writeHead(isSqs ? 400 : 403, { 'content-type': type }).end(isSqs ? answers.sqs : answers.sns)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    using clients = awsClients(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const { publish } = await attempt(clients)
    await expect(publish()).rejects.toMatchObject(unreachable(/sns:CreateTopic is not allowed.*InvalidClientTokenId/))
    using denied = awsClients('http://127.0.0.1:1')
    const bare = await attempt({ sns: denied.sns, sqs: clients.sqs })
    await expect(bare.receive()).rejects.toMatchObject(unreachable(/sns:CreateTopic/))
    const open = await snsSqsTransport({ ...clients, provision: false, ...quick }).open({
      environment: systemEnvironment,
      warn: () => {},
    })
    const receiving = open.receive(ordering, 'shipping', async () => [])
    await expect(receiving).rejects.toMatchObject(unreachable(/is not allowed/))
  })

  test('no credentials at all are said', async () => {
    const settings = {
      region: 'eu-west-1',
      credentials: () =>
        Promise.reject(Object.assign(new Error('Could not load credentials'), { name: 'CredentialsProviderError' })),
    }
    const { publish } = await attempt({ sns: new SNS(settings), sqs: new SQS(settings) })
    await expect(publish()).rejects.toMatchObject(unreachable(/not allowed.*Could not load credentials/))
  })

  test.each([
    [{ sns: {} }, 'new SNS'],
    [{ waitMs: 500 }, 'waitMs'],
    [{ visibilityMs: 1 }, 'visibilityMs'],
    [{ polls: 0 }, 'polls'],
    [{ prefix: 'a.b' }, 'prefix'],
  ])('options are checked: %j', (options, named) => {
    using clients = awsClients('http://127.0.0.1:1')
    const create = () => snsSqsTransport({ ...clients, ...(options as object) })
    expect(create).toThrow(
      expect.objectContaining({ code: 'PABAL_COMPOSITION_INVALID', message: expect.stringContaining(named) }),
    )
  })
})
