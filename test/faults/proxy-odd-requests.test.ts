// Requests made of odd parts at random, to the plain listener and inside an intercepted connection: none ends the process or stays behind.
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { until } from '../harness/until.ts'
import { connectTls, type InterceptRig, startInterceptor, startTlsUpstream } from './intercept-harness.ts'

const REQUESTS = 144
const AT_ONCE = 12
/** A connection that has no more to say is closed by its client after this, in ms. */
const SILENT_MS = 150

/** Numbers from 0 up to `below`, the same for the same seed (mulberry32). */
function makeRandom(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'M-SEARCH']
const versions = ['1.1', '1.1', '1.0', '2.0']
const headers = [
  'Host: x',
  'Host: a:b:c',
  'Content-Length: 5',
  'Content-Length: 5\r\nContent-Length: 6',
  'Content-Length: -1',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked\r\nContent-Length: 3',
  'Expect: 100-continue',
  'Expect: nonsense',
  'Connection: upgrade, host, content-length\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA',
  'Range: bytes=0-1,5-6',
  'Range: bytes=999999-',
  'Authorization: Basic \xff\xfe',
  'Accept: *',
  'X: a\r\n folded',
  'Bad Header: x',
]
const ends = [
  '\r\n\r\n',
  '\r\n\r\nhello',
  '\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  '\r\n\r\n5\r\nhel',
  '\r\n',
  '\r\n\r\n0\r\nTrail: x\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n',
]

async function send(
  t: TestContext,
  rig: InterceptRig,
  name: string | undefined,
  text: string,
): Promise<number> {
  const socket =
    name === undefined
      ? connect({ port: rig.port, host: '127.0.0.1' })
      : await connectTls(rig, name, { ca: rig.ca })
  t.after(() => socket.destroy())
  let bytes = 0
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength
  })
  socket.setTimeout(SILENT_MS, () => socket.destroy())
  socket.write(Buffer.from(text, 'latin1'))
  await new Promise(resolve => socket.once('close', resolve))
  return bytes
}

test('odd requests are answered or cut, and leave nothing', async t => {
  const { name } = await startTlsUpstream(t)
  const rig = await startInterceptor(t, { hosts: [name], registries: { [name]: {} } })
  const digest = rig.blobs.add(Buffer.alloc(300_000, 1))
  const paths = [
    '/v2/',
    '/v2/team/app/manifests/v1',
    `/v2/team/app/blobs/${digest}`,
    '/v2/x/blobs/uploads/~abc.def',
    '/v2/a/../b/manifests/v1',
    '//v2/',
    '/v2/%2e%2e/x/manifests/%ff',
    '/v2/?ns=%00&ns=reg.lab',
    '*',
    'x:99999',
    `http://${name}/x`,
    '/token?x',
  ]
  const seed = Number(process.env['SEED'] ?? 21)
  t.diagnostic(`SEED=${seed}`)
  const random = makeRandom(seed)
  const pick = (list: readonly string[]): string => list[random(list.length)]!
  let answered = 0
  for (let round = 0; round < REQUESTS / AT_ONCE; round++) {
    const made = Array.from({ length: AT_ONCE }, (_, index) => {
      const lines = Array.from({ length: random(4) }, () => `\r\n${pick(headers)}`)
      const text = `${pick(methods)} ${pick(paths)} HTTP/${pick(versions)}${lines.join('')}${pick(ends)}`
      return send(t, rig, index % 3 === 0 ? name : undefined, text)
    })
    for (const bytes of await Promise.all(made)) if (bytes > 0) answered++
  }
  assert.ok(answered > REQUESTS / 2, `${answered} were answered`)
  await until(
    () =>
      rig.desk.running === 0 &&
      rig.blobs.held === 0 &&
      rig.interceptor.tunnels === 0 &&
      rig.interceptor.intercepted === 0,
  )
})
