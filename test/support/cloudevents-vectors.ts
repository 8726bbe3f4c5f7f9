/** Golden vectors of CloudEvents 1.0.2: what its documents show, and what Korean keys become, in every binding. */

export interface PercentVector {
  readonly text: string
  readonly header: string
}

/** HTTP binding §3.1.3.2. */
export const percentVectors: readonly PercentVector[] = [
  { text: 'Euro € 😀', header: 'Euro%20%E2%82%AC%20%F0%9F%98%80' },
  { text: '주문 1', header: '%EC%A3%BC%EB%AC%B8%201' },
  { text: '할인 100% "특가"', header: '%ED%95%A0%EC%9D%B8%20100%25%20%22%ED%8A%B9%EA%B0%80%22' },
  { text: "!#$&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~", header: "!#$&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~" },
  { text: '\ufeff순서', header: '%EF%BB%BF%EC%88%9C%EC%84%9C' },
]

/** What receivers must take beside what senders must write. */
export const percentRead: readonly PercentVector[] = [
  { header: 'Euro%20%e2%82%ac', text: 'Euro €' },
  { header: '%45uro', text: 'Euro' },
  { header: '"Euro%20%E2%82%AC"', text: 'Euro €' },
  { header: '"a \\"b\\" \\\\ c"', text: 'a "b" \\ c' },
  { header: 'with spaces left alone', text: 'with spaces left alone' },
  { header: ' \taround ', text: 'around' },
  { header: 'a%2525', text: 'a%25' },
  { header: 'say "hi"', text: 'say "hi"' },
]

export const percentRefused: readonly string[] = [
  '%C0%A0',
  '%',
  '%4',
  '%GG',
  '%ED%A0%80',
  '%E2%82',
  '%FF',
  '주문',
  'caf\u00e9',
  '"no end',
  '"a" and "b"',
]

export interface JsonVector {
  readonly title: string
  readonly json: string
  /** The same event in HTTP's binary mode. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | readonly number[] | null
}

const common = {
  'ce-specversion': '1.0',
  'ce-type': 'com.example.someevent',
  'ce-source': '/mycontext',
  'ce-time': '2018-04-05T17:31:00Z',
  'ce-comexampleextension1': 'value',
  'ce-comexampleothervalue': '5',
}
const head = `"specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "unsetextension": null,
    "subject": null`

/** JSON event format §3.2, with what each becomes "re-encoded using HTTP Binary Content Mode". */
export const jsonVectors: readonly JsonVector[] = [
  {
    title: 'binary data',
    json: `{
    ${head},
    "id" : "A234-1234-1234",
    "datacontenttype" : "application/vnd.apache.thrift.binary",
    "data_base64" : "AAECgP8="
}`,
    headers: { ...common, 'ce-id': 'A234-1234-1234', 'content-type': 'application/vnd.apache.thrift.binary' },
    body: [0, 1, 2, 128, 255],
  },
  {
    title: 'XML in a text',
    json: `{
    ${head},
    "id" : "B234-1234-1234",
    "datacontenttype" : "application/xml",
    "data" : "<much wow=\\"xml\\"/>"
}`,
    headers: { ...common, 'ce-id': 'B234-1234-1234', 'content-type': 'application/xml' },
    body: '<much wow="xml"/>',
  },
  {
    title: 'an object',
    json: `{
    ${head},
    "id" : "C234-1234-1234",
    "datacontenttype" : "application/json",
    "data" :{
        "appinfoA" : "abc",
        "appinfoB" : 123,
        "appinfoC" : true
    }}`,
    headers: { ...common, 'ce-id': 'C234-1234-1234', 'content-type': 'application/json' },
    body: `{
        "appinfoA" : "abc",
        "appinfoB" : 123,
        "appinfoC" : true
    }`,
  },
  {
    title: 'a number',
    json: `{${head},"id":"C234-1234-1234","datacontenttype":"application/json","data":1.5}`,
    headers: { ...common, 'ce-id': 'C234-1234-1234', 'content-type': 'application/json' },
    body: '1.5',
  },
  {
    title: 'a text that is JSON, without a content type',
    json: `{${head},"id":"D234-1234-1234","data":"I'm just a string"}`,
    headers: { ...common, 'ce-id': 'D234-1234-1234', 'content-type': 'application/json' },
    body: '"I\'m just a string"',
  },
  {
    title: 'null, which is data',
    json: `{${head},"id":"E234-1234-1234","data":null}`,
    headers: { ...common, 'ce-id': 'E234-1234-1234', 'content-type': 'application/json' },
    body: 'null',
  },
  {
    title: 'no data',
    json: `{${head},"id":"F234-1234-1234"}`,
    headers: { ...common, 'ce-id': 'F234-1234-1234' },
    body: null,
  },
]

export interface BinaryVector {
  readonly binding: 'Kafka' | 'AMQP' | 'NATS' | 'HTTP'
  readonly headers: Readonly<Record<string, string>>
  /** Where the protocol has a property for it. */
  readonly contentType?: string
}

/** One event with a Korean subject: the examples of the bindings' documents, and theirs alone. Its data is `{"a": 1.0}`. */
export const binaryVectors: readonly BinaryVector[] = [
  {
    binding: 'Kafka',
    headers: {
      'content-type': 'application/json; charset=utf-8',
      ce_specversion: '1.0',
      ce_type: 'com.example.someevent',
      ce_time: '2018-04-05T03:56:24Z',
      ce_id: '1234-1234-1234',
      ce_source: '/mycontext/subcontext',
      ce_subject: '주문 1',
    },
  },
  {
    binding: 'AMQP',
    contentType: 'application/json; charset=utf-8',
    headers: {
      cloudEvents_specversion: '1.0',
      cloudEvents_type: 'com.example.someevent',
      cloudEvents_time: '2018-04-05T03:56:24Z',
      cloudEvents_id: '1234-1234-1234',
      cloudEvents_source: '/mycontext/subcontext',
      cloudEvents_subject: '주문 1',
    },
  },
  {
    binding: 'NATS',
    headers: {
      'ce-specversion': '1.0',
      'ce-type': 'com.example.someevent',
      'ce-time': '2018-04-05T03:56:24Z',
      'ce-id': '1234-1234-1234',
      'ce-source': '/mycontext/subcontext',
      'ce-subject': '%EC%A3%BC%EB%AC%B8%201',
      'ce-datacontenttype': 'application/json;%20charset=utf-8',
    },
  },
  {
    binding: 'HTTP',
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'ce-specversion': '1.0',
      'ce-type': 'com.example.someevent',
      'ce-time': '2018-04-05T03:56:24Z',
      'ce-id': '1234-1234-1234',
      'ce-source': '/mycontext/subcontext',
      'ce-subject': '%EC%A3%BC%EB%AC%B8%201',
    },
  },
]
