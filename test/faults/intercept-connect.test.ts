// CONNECT to a host of the list: answered in its name, its registry content from the desk, all else from the host itself.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ProxyAgent, request } from 'undici'
import { systemClock } from '../../shared/clock.ts'
import { testCertificate } from '../harness/tls-certificate.ts'
import { until } from '../harness/until.ts'
import {
  ask,
  connectTls,
  sendConnect,
  startInterceptor,
  startPlainUpstream,
  startTcpUpstream,
  startTlsUpstream,
} from './intercept-harness.ts'

test('a client that trusts the authority is served by the desk, as the registry it asked for', async t => {
  const upstream = await startTlsUpstream(t)
  const rig = await startInterceptor(t, { hosts: [upstream.name], registries: { [upstream.name]: {} } })
  const agent = new ProxyAgent({ uri: rig.proxy.url, requestTls: { ca: rig.ca } })
  const answer = await request(`https://${upstream.name}/v2/team/app/manifests/v1`, {
    dispatcher: agent,
    headers: { authorization: 'Basic dGVzdA==' },
  })
  assert.equal(answer.statusCode, 200)
  assert.deepEqual(Buffer.from(await answer.body.arrayBuffer()), rig.manifestBody)
  assert.deepEqual(rig.asked, [
    {
      reference: 'v1',
      accept: [],
      authorization: 'Basic dGVzdA==',
      registry: upstream.name,
      repository: 'team/app',
    },
  ])
  assert.deepEqual(upstream.asked, [], 'the registry itself was asked nothing')
  assert.deepEqual(rig.connects, ['intercepted'])
  await agent.close()
})

test('blobs come whole over a connection that is kept', async t => {
  const upstream = await startTlsUpstream(t)
  const rig = await startInterceptor(t, { hosts: [upstream.name], registries: { [upstream.name]: {} } })
  const body = Buffer.alloc(3_000_000, 'blob')
  const digest = rig.blobs.add(body)
  const agent = new ProxyAgent({ uri: rig.proxy.url, requestTls: { ca: rig.ca }, connections: 1 })
  for (let round = 0; round < 3; round++) {
    const answer = await request(`https://${upstream.name}/v2/team/app/blobs/${digest}`, {
      dispatcher: agent,
    })
    assert.ok(body.equals(Buffer.from(await answer.body.arrayBuffer())))
  }
  assert.deepEqual(rig.connects, ['intercepted'])
  await agent.close()
})

test('what is no registry content goes to the host as it is, and so does its answer', async t => {
  const upstream = await startTlsUpstream(t, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () => {
      response.writeHead(201, {
        'x-answer': 'yes',
        'set-cookie': ['a=1', 'b=2'],
        connection: 'x-hop',
        'x-hop': '1',
      })
      response.end(JSON.stringify({ headers: request.headers, body: Buffer.concat(chunks).toString() }))
    })
  })
  const rig = await startInterceptor(t, { hosts: [upstream.name], registries: { [upstream.name]: {} } })
  const socket = await connectTls(rig, upstream.name, { ca: rig.ca })
  const answer = await ask({ socket }, '/service/token?scope=a%2Fb&service=x', {
    method: 'POST',
    body: 'grant_type=password',
    headers: {
      host: upstream.name,
      authorization: 'Basic dGVzdA==',
      connection: 'keep-alive, x-mine',
      'x-mine': '1',
      'x-other': '2',
      'proxy-authorization': 'Basic c2VjcmV0',
    },
  })
  assert.equal(answer.status, 201)
  assert.equal(answer.headers['x-answer'], 'yes')
  assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2'])
  assert.equal(answer.headers['x-hop'], undefined)
  assert.deepEqual(upstream.asked, ['POST /service/token?scope=a%2Fb&service=x'])
  const { headers, body } = JSON.parse(answer.body.toString())
  assert.equal(body, 'grant_type=password')
  assert.equal(headers.host, upstream.name)
  assert.equal(headers.authorization, 'Basic dGVzdA==')
  assert.equal(headers['x-other'], '2')
  assert.match(headers.via, /^1\.1 pantala-/)
  assert.equal(headers['x-mine'], undefined)
  assert.equal(headers['proxy-authorization'], undefined)
})

test('token services under /v2, as some registries have them, are asked at the host', async t => {
  const upstream = await startTlsUpstream(t)
  const rig = await startInterceptor(t, { hosts: [upstream.name], registries: { [upstream.name]: {} } })
  for (const path of ['/v2/auth?service=x', '/v2/token', '/v2x', '/']) {
    const socket = await connectTls(rig, upstream.name, { ca: rig.ca })
    assert.equal(
      (await ask({ socket }, path, { headers: { host: upstream.name } })).body.toString(),
      `hello from ${path}`,
    )
  }
  assert.equal(upstream.asked.length, 4)
})

test('another host asked for on the connection is 421, another name in the handshake ends it', async t => {
  const upstream = await startTlsUpstream(t)
  const rig = await startInterceptor(t, { hosts: [upstream.name], registries: { [upstream.name]: {} } })
  const socket = await connectTls(rig, upstream.name, { ca: rig.ca })
  const answer = await ask({ socket }, '/v2/', { headers: { host: 'other.lab' } })
  assert.equal(answer.status, 421)
  assert.match(answer.body.toString(), /HOST_MISMATCH/)
  await assert.rejects(connectTls(rig, upstream.name, { ca: rig.ca, servername: 'other.lab' }))
  assert.deepEqual(rig.asked, [])
})

test('a plain-HTTP upstream is tunnelled though it is listed: its client finds out by itself', async t => {
  const upstream = await startPlainUpstream(t)
  const rig = await startInterceptor(t, { hosts: [upstream.name] })
  const { status, socket } = await sendConnect(rig, upstream.name)
  assert.equal(status, 200)
  assert.equal((await ask({ socket }, '/v2/')).body.toString(), 'hello from /v2/')
  await assert.rejects(connectTls(rig, upstream.name, { ca: rig.ca }))
  assert.deepEqual(rig.connects, ['tunnelled', 'tunnelled'])
  assert.match(rig.logLines.join(''), /does not speak TLS/)
})

test('an upstream whose certificate does not hold is tunnelled, so that its client sees that certificate', async t => {
  const upstream = await startTlsUpstream(t)
  const rig = await startInterceptor(t, { hosts: [upstream.name] })
  const socket = await connectTls(rig, upstream.name, { ca: testCertificate })
  assert.equal(
    (await ask({ socket }, '/v2/', { headers: { host: upstream.name } })).body.toString(),
    'hello from /v2/',
  )
  await assert.rejects(connectTls(rig, upstream.name, { ca: rig.ca }), {
    code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
  })
  assert.match(rig.logLines.join(''), /its certificate does not hold \(DEPTH_ZERO_SELF_SIGNED_CERT\)/)
})

test('a hundred clients cost the upstream one handshake', async t => {
  let connections = 0
  const upstream = await startTlsUpstream(t)
  upstream.server.on('connection', () => {
    connections++
  })
  const rig = await startInterceptor(t, { hosts: [upstream.name], registries: { [upstream.name]: {} } })
  const sockets = await Promise.all(
    Array.from({ length: 100 }, () => connectTls(rig, upstream.name, { ca: rig.ca })),
  )
  assert.equal(connections, 1)
  for (const socket of sockets) socket.destroy()
})

test('an upstream that was there and is away is answered for all the same; one never seen is 502', async t => {
  let now = 0
  const clock = { ...systemClock, monotonic: () => now }
  const upstream = await startTlsUpstream(t)
  const never = await startTlsUpstream(t)
  never.close()
  const rig = await startInterceptor(t, {
    hosts: [upstream.name, never.name],
    registries: { [upstream.name]: {}, [never.name]: {} },
    clock,
  })
  ;(await connectTls(rig, upstream.name, { ca: rig.ca })).destroy()
  upstream.close()
  now += 3_600_000
  ;(await connectTls(rig, upstream.name, { ca: rig.ca })).destroy()
  const { status, body } = await sendConnect(rig, never.name)
  assert.equal(status, 502)
  assert.match(body, /SOURCE_AWAY/)
  assert.deepEqual(rig.connects, ['intercepted', 'intercepted', 'failed'])
})

test('an upstream that takes the connection and says nothing is 504 within the time for a handshake', async t => {
  const silent = await startTcpUpstream(t, socket => socket.resume().on('end', () => socket.end()))
  const rig = await startInterceptor(t, { hosts: [silent.name], limits: { probeMs: 500 } })
  const begun = Date.now()
  const answers = await Promise.all([sendConnect(rig, silent.name), sendConnect(rig, silent.name)])
  assert.deepEqual(
    answers.map(({ status }) => status),
    [504, 504],
  )
  assert.ok(Date.now() - begun < 3_000)
  await until(() => silent.sockets.size === 0)
})

test('log lines hold no query, no credential', async t => {
  const upstream = await startTlsUpstream(t)
  const rig = await startInterceptor(t, { hosts: [upstream.name], registries: { [upstream.name]: {} } })
  const socket = await connectTls(rig, upstream.name, { ca: rig.ca })
  await ask({ socket }, '/token?password=hunter2', {
    headers: { host: upstream.name, authorization: 'Basic dGVzdA==' },
  })
  await sendConnect(rig, 'user:hunter2@reg.lab:443')
  await ask(rig, 'http://user:hunter2@127.0.0.1/?password=hunter2')
  assert.ok(rig.logLines.length > 0)
  assert.doesNotMatch(rig.logLines.join(''), /hunter2|c2VjcmV0|dGVzdA/)
})

test('a registry that is away but has mirrors is answered for', async t => {
  const [away, mirror] = [await startTlsUpstream(t), await startTlsUpstream(t)]
  away.close()
  const registries = { [away.name]: { mirrors: [`https://${mirror.name}`] } }
  const rig = await startInterceptor(t, { hosts: [away.name], registries })
  const socket = await connectTls(rig, away.name, { ca: rig.ca })
  const answer = await ask({ socket }, '/v2/team/app/manifests/v1', { headers: { host: away.name } })
  assert.equal(answer.status, 200)
})

test('its certificate is renewed while it runs', async t => {
  const dayMs = 86_400_000
  let now = Date.now() - 8 * dayMs
  const upstream = await startTlsUpstream(t)
  const rig = await startInterceptor(t, {
    hosts: [upstream.name],
    registries: { [upstream.name]: {} },
    clock: { ...systemClock, now: () => now },
  })
  const serialOf = async (): Promise<string> => {
    const socket = await connectTls(rig, upstream.name, { ca: rig.ca })
    const { serialNumber, valid_to } = socket.getPeerCertificate()
    socket.destroy()
    assert.ok(Date.parse(valid_to) > now + 6 * dayMs)
    return serialNumber
  }
  const first = await serialOf()
  assert.equal(await serialOf(), first)
  now += 8 * dayMs
  assert.notEqual(await serialOf(), first)
})

test('a registry that is known by its address is answered for by its address', async t => {
  const upstream = await startTlsUpstream(t)
  const name = `127.0.0.1:${upstream.port}`
  const rig = await startInterceptor(t, { hosts: [name], registries: { [name]: {} } })
  const socket = await connectTls(rig, name, { ca: rig.ca })
  assert.equal(socket.getPeerCertificate().subjectaltname, 'IP Address:127.0.0.1')
  const answer = await ask({ socket }, '/v2/team/app/manifests/v1', { headers: { host: name } })
  assert.equal(answer.status, 200)
  assert.equal(rig.asked[0]?.registry, name)
})
