// The proxy's own port over TLS: HTTP/1.1 and HTTP/2, a certificate that is renewed on disk, files that are wrong.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rename, writeFile } from 'node:fs/promises'
import { connect as http2Connect } from 'node:http2'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Agent, request } from 'undici'
import { makeAuthority, makeLeaf } from '../../dfdaemon/intercept/authority/authority-certificate.ts'
import { ProxyServer } from '../../dfdaemon/proxy/server.ts'
import { readTlsOptions } from '../../dfdaemon/proxy/tls-port.ts'
import { systemClock } from '../../shared/clock.ts'
import { createLogger } from '../../shared/logger.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { testCertificate, testKey } from '../harness/tls-certificate.ts'
import { until } from '../harness/until.ts'
import { startProxy } from './proxy-harness.ts'

async function startTlsProxy(t: TestContext) {
  const directory = await makeTestDirectory(t, 'tls-port')
  const files = { certFile: join(directory, 'tls.crt'), keyFile: join(directory, 'tls.key') }
  const put = async (certificate: string, key: string): Promise<void> => {
    for (const [file, text] of [
      [files.certFile, certificate],
      [files.keyFile, key],
    ] as const) {
      await writeFile(`${file}.new`, text)
      await rename(`${file}.new`, file)
    }
  }
  await put(testCertificate, testKey)
  const base = await startProxy()
  const lines: string[] = []
  const logger = createLogger(
    { name: 'tls', level: 'trace', format: 'json' },
    { write: line => void lines.push(line) },
  )
  const looks: (() => void)[] = []
  const clock = {
    ...systemClock,
    after: (_ms: number, task: () => void) => {
      looks.push(task)
      return { cancel() {} }
    },
  }
  const proxy = new ProxyServer(
    { desk: base.desk },
    {
      host: '127.0.0.1',
      port: 0,
      face: { registry: 'reg.lab', isFixed: false },
      tls: readTlsOptions(files, { logger, clock }),
    },
  )
  await proxy.start()
  t.after(async () => {
    await proxy.stop(0)
    await base.proxy.stop(0)
  })
  const lookAgain = async (): Promise<void> => {
    const before = looks.length
    looks.at(-1)!()
    await until(() => looks.length > before)
  }
  return { ...base, proxy, put, lookAgain, lines }
}

async function pull(url: string, ca: string): Promise<number> {
  const dispatcher = new Agent({ connect: { ca } })
  try {
    const { statusCode, body } = await request(`${url}/v2/team/app/manifests/v1`, { dispatcher })
    await body.dump()
    return statusCode
  } finally {
    await dispatcher.close()
  }
}

test('runtimes are served over HTTP/1.1 and HTTP/2', async t => {
  const { proxy, manifestBody } = await startTlsProxy(t)
  assert.match(proxy.url, /^https:\/\/127\.0\.0\.1:\d+$/)
  assert.equal(await pull(proxy.url, testCertificate), 200)
  const session = http2Connect(proxy.url, { ca: testCertificate })
  const stream = session.request({ ':path': '/v2/team/app/manifests/v1' })
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  assert.deepEqual(Buffer.concat(chunks), manifestBody)
  session.close()
})

test('a certificate that is renewed on disk is shown from then on; a broken one is not taken', async t => {
  const { proxy, put, lookAgain, lines } = await startTlsProxy(t)
  const authority = await makeAuthority(['127.0.0.1'], 'test', Date.now())
  await put('half writ', testKey)
  await lookAgain()
  assert.match(lines.join(''), /certificate not renewed/)
  assert.equal(await pull(proxy.url, testCertificate), 200)
  const leaf = await makeLeaf(authority, '127.0.0.1', Date.now())
  await put(leaf.certificate, leaf.key)
  await lookAgain()
  assert.equal(await pull(proxy.url, authority.certificate), 200)
  await assert.rejects(pull(proxy.url, testCertificate))
})

test('plain HTTP there is refused at once', async t => {
  const { proxy } = await startTlsProxy(t)
  const socket = connect(Number(new URL(proxy.url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write('GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n')
  const begun = Date.now()
  await once(socket.resume(), 'close')
  assert.ok(Date.now() - begun < 2_000)
})

test('files that are missing or wrong stop the start', async t => {
  const directory = await makeTestDirectory(t, 'tls-port')
  const logger = createLogger({ name: 'tls', level: 'fatal', format: 'json' }, { write() {} })
  const components = { logger, clock: systemClock }
  assert.equal(readTlsOptions({ certFile: undefined, keyFile: undefined }, components), undefined)
  assert.throws(() => readTlsOptions({ certFile: 'x', keyFile: undefined }, components), {
    code: 'CONFIG_INVALID',
  })
  const base = await startProxy()
  t.after(() => base.proxy.stop(0))
  const files = { certFile: join(directory, 'tls.crt'), keyFile: join(directory, 'tls.key') }
  const start = () =>
    new ProxyServer(
      { desk: base.desk },
      {
        host: '127.0.0.1',
        port: 0,
        face: { registry: 'reg.lab', isFixed: false },
        tls: readTlsOptions(files, components),
      },
    ).start()
  await assert.rejects(start(), /tls\.crt .*ENOENT/)
  await writeFile(files.certFile, testCertificate)
  await writeFile(files.keyFile, 'nonsense')
  await assert.rejects(start(), /no certificate and its key/)
})
