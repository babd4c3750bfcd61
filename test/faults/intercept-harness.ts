// The dfdaemon's HTTP(S) proxy over a desk with doubles, on real loopback sockets: a TLS upstream with a test CA, clients that go through it.

import { readFile, writeFile } from 'node:fs/promises'
import {
  createServer as createHttpServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  isIP,
  type Server,
  type Socket,
} from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { authorityPaths } from '../../dfdaemon/intercept/authority/authority-files.ts'
import type { ConnectResult } from '../../dfdaemon/intercept/interceptor.ts'
import { makeInterceptor } from '../../dfdaemon/intercept/make-interceptor.ts'
import { ProxyServer } from '../../dfdaemon/proxy/server.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { createLogger } from '../../shared/logger.ts'
import type { RegistryConfig } from '../../shared/source/registry-config.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { testCertificate, testKey } from '../harness/tls-certificate.ts'
import { startProxy } from './proxy-harness.ts'

export interface InterceptRigInit {
  /** intercept.hosts; `upstream` stands for localhost and the upstream's port. */
  readonly hosts?: readonly string[]
  readonly registries?: Readonly<Record<string, RegistryConfig>>
  readonly allow?: readonly string[]
  readonly forward?: readonly string[]
  readonly clock?: Clock
  /** With HTTPS_PROXY and its like. */
  readonly env?: Readonly<Record<string, string>>
  readonly limits?: Parameters<typeof makeInterceptor>[2]
  /** Address that the proxy is taken to listen on. */
  readonly host?: string
}

/** What every server of the tests offers: where it is, what came, how many connections there are. */
export interface TestUpstream {
  readonly port: number
  readonly name: string
  readonly asked: string[]
  readonly sockets: Set<Socket>
  readonly server: Server
  /** From now on nothing is there. */
  close(): void
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void

const sayHello: Handler = (request, response) => {
  response.setHeader('content-type', 'text/plain')
  response.end(`hello from ${request.url}`)
}

export function startTlsUpstream(t: TestContext, handler: Handler = sayHello): Promise<TestUpstream> {
  const upstream = { asked: [] as string[] }
  const server = createHttpsServer({ cert: testCertificate, key: testKey }, (request, response) => {
    upstream.asked.push(`${request.method} ${request.url}`)
    handler(request, response)
  })
  server.on('tlsClientError', () => {})
  return listen(t, server, upstream.asked)
}

export function startPlainUpstream(t: TestContext, handler: Handler = sayHello): Promise<TestUpstream> {
  const asked: string[] = []
  const server = createHttpServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    handler(request, response)
  })
  return listen(t, server, asked)
}

/** A server of bare connections. */
export function startTcpUpstream(
  t: TestContext,
  onConnection: (socket: Socket) => void,
): Promise<TestUpstream> {
  const server = createTcpServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    onConnection(socket)
  })
  return listen(t, server, [])
}

async function listen(t: TestContext, server: Server, asked: string[]): Promise<TestUpstream> {
  const sockets = new Set<Socket>()
  server.on('connection', socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  t.after(close)
  const { port } = server.address() as AddressInfo
  return { port, name: `localhost:${port}`, asked, sockets, server, close }
}

export async function startInterceptor(t: TestContext, init: InterceptRigInit = {}) {
  const dataDir = await makeTestDirectory(t, 'intercept')
  const caFile = join(dataDir, 'upstream-ca.crt')
  await writeFile(caFile, testCertificate)
  const base = await startProxy()
  const connects: ConnectResult[] = []
  const logLines: string[] = []
  const logger = createLogger(
    { name: 'intercept', level: 'trace', format: 'json' },
    { write: line => void logLines.push(line) },
  )
  const counted = { forwarded: 0 }
  const registries = Object.fromEntries(
    Object.entries(init.registries ?? {}).map(([name, config]) => [
      name,
      config.insecure === true || config.caFile !== undefined ? config : { caFile, ...config },
    ]),
  )
  const { interceptor, guard } = await makeInterceptor(
    {
      desk: base.desk,
      clock: init.clock ?? systemClock,
      logger,
      metrics: {
        countConnect: result => void connects.push(result),
        countForwarded: () => void counted.forwarded++,
      },
    },
    {
      dataDir,
      intercept: { hosts: init.hosts ?? [] },
      proxy: { address: `${init.host ?? '127.0.0.1'}:0`, forward: init.forward ?? [], stalledSendMs: 5_000 },
      env: init.env ?? {},
      upstreams: { default: 'reg.lab', registries, allow: init.allow ?? ['*'] },
    },
    init.limits,
  )
  const proxy = new ProxyServer(
    { desk: base.desk, forwardProxy: interceptor },
    { host: '127.0.0.1', port: 0, face: { registry: 'reg.lab', isFixed: false } },
  )
  await proxy.start()
  const port = Number(new URL(proxy.url).port)
  guard.addOwnPort(port)
  t.after(async () => {
    await base.proxy.stop(0)
    await proxy.stop(0)
  })
  const readCa = () => readFile(authorityPaths(dataDir).certificate, 'utf8').catch(() => '')
  return {
    ...base,
    proxy,
    port,
    interceptor,
    guard,
    connects,
    logLines,
    counted,
    dataDir,
    ca: await readCa(),
  }
}

export type InterceptRig = Awaited<ReturnType<typeof startInterceptor>>

/** What the proxy answers to CONNECT, and the connection if it is open. */
export interface Connected {
  readonly status: number
  readonly body: string
  readonly socket: Socket
}

export function sendConnect(rig: { readonly port: number }, target: string): Promise<Connected> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: rig.port, host: '127.0.0.1', allowHalfOpen: true })
    let text = ''
    socket.on('error', reject)
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      if (end < 0) return
      const status = Number(text.split(' ')[1])
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)
      const body = text.slice(end + 4)
      if (status !== 200 && body.length < length) return
      socket.off('data', onData)
      socket.pause()
      resolve({ status, body, socket })
    }
    socket.on('data', onData)
    socket.write(
      `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n`,
    )
  })
}

/** CONNECT and a TLS handshake. @throws the handshake's error */
export async function connectTls(
  rig: { readonly port: number },
  target: string,
  options: { readonly ca: string; readonly servername?: string; readonly protocols?: string[] },
): Promise<TLSSocket> {
  const { status, socket, body } = await sendConnect(rig, target)
  if (status !== 200) throw new Error(`CONNECT answered ${status}: ${body}`)
  const host = target.replace(/:\d+$/, '')
  return new Promise((resolve, reject) => {
    const secured = tlsConnect({
      socket,
      ca: options.ca,
      host,
      ...(isIP(host) === 0 ? { servername: options.servername ?? host } : {}),
      ALPNProtocols: options.protocols ?? ['http/1.1'],
    })
    secured.once('error', reject)
    secured.once('secureConnect', () => resolve(secured))
  })
}

export interface PlainAnswer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
  readonly whole: boolean
}

/** One HTTP/1.1 request over a connection there is, or to the proxy in absolute form. */
export function ask(
  over: { readonly socket: Socket } | { readonly port: number },
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<PlainAnswer> {
  return new Promise((resolve, reject) => {
    const call = httpRequest(
      {
        ...('socket' in over
          ? { createConnection: () => over.socket }
          : { port: over.port, host: '127.0.0.1', agent: false }),
        path,
        method: options.method ?? 'GET',
        headers: options.headers ?? {},
      },
      response => {
        const chunks: Buffer[] = []
        const finish = () =>
          resolve({
            status: response.statusCode!,
            headers: response.headers,
            body: Buffer.concat(chunks),
            whole: response.complete,
          })
        response.on('data', chunk => chunks.push(chunk))
        response.on('error', finish)
        response.on('end', finish)
      },
    )
    call.on('error', reject)
    call.on('socket', socket => setImmediate(() => socket.resume()))
    call.end(options.body)
  })
}
