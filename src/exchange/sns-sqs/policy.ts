/** The policy of a queue: whether it lets a topic send, and one that does. Without it what is published vanishes, and nobody is told. */

interface Statement {
  readonly Effect?: unknown
  readonly Action?: unknown
  readonly Condition?: unknown
}

interface Policy {
  readonly Version?: unknown
  readonly Statement?: unknown
}

/** `policy` with one more statement, for exactly this topic. */
export const allowing = (policy: string | undefined, queueArn: string, topicArn: string): string => {
  const { Statement, ...rest } = parsed(policy)
  const ours = {
    Sid: 'pabal',
    Effect: 'Allow',
    Principal: { Service: 'sns.amazonaws.com' },
    Action: 'sqs:SendMessage',
    Resource: queueArn,
    Condition: { ArnEquals: { 'aws:SourceArn': topicArn } },
  }
  const others = listOf(Statement).filter((each) => (each as { Sid?: unknown }).Sid !== 'pabal')
  return JSON.stringify({ Version: '2012-10-17', ...rest, Statement: [...others, ours] })
}

/** Whether a statement lets the topic send: ours, or any like it. */
export const allows = (policy: string | undefined, topicArn: string): boolean =>
  listOf(parsed(policy).Statement).some((each) => {
    const { Effect, Action, Condition } = each as Statement
    return (
      Effect === 'Allow' &&
      listOf(Action).some((action) => matches(String(action).toLowerCase(), 'sqs:sendmessage')) &&
      sourcesOf(Condition).some((source) => matches(source, topicArn))
    )
  })

/** All ARNs that `aws:SourceArn` is compared with; a condition on something else says nothing of the topic. */
const sourcesOf = (condition: unknown): string[] => {
  if (typeof condition !== 'object' || condition === null) return ['*']
  return Object.entries(condition as Record<string, unknown>)
    .filter(([operator]) => /^(?:Arn|String)(?:Equals|Like)(?:IfExists)?$/.test(operator))
    .flatMap(([, tested]) => Object.entries((tested ?? {}) as Record<string, unknown>))
    .filter(([name]) => name.toLowerCase() === 'aws:sourcearn')
    .flatMap(([, arns]) => listOf(arns).map(String))
}

/** As AWS matches: `*` is any text, `?` any letter. */
const matches = (pattern: string, text: string): boolean => {
  const source = pattern.replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
  return new RegExp(`^${source.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(text)
}

const listOf = (value: unknown): readonly unknown[] =>
  value === undefined ? [] : Array.isArray(value) ? (value as unknown[]) : [value]

const parsed = (policy: string | undefined): Policy => {
  const value: unknown = policy === undefined || policy === '' ? {} : JSON.parse(policy)
  return typeof value === 'object' && value !== null ? value : {}
}
