// Pushes through the proxy: what reaches the registry, what comes back, and what a fault at either end does to the other.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { type Answer, sendBytes } from '../harness/fake-registry.ts'
import { readAnswer, startWriteStage } from '../harness/write-stage.ts'
import { until } from '../scripts/session-harness.ts'
import { errorOf } from './proxy-harness.ts'

const uploads = '/v2/team/app/blobs/uploads/'

test('a request reaches the registry with its path, query, headers and body as they were, and so does the answer', async t => {
  const { registry, at, send } = await startWriteStage(t)
  const bytes = randomBytes(300_000)
  let body = Buffer.alloc(0)
  registry.on(`${uploads}*`, async (request, response) => {
    body = Buffer.concat(await request.toArray())
    response.writeHead(202, 'Accepted', {
      location: `${registry.url}${uploads}1?_state=aB%3D-_`,
      range: '0-299999',
      'docker-upload-uuid': '1',
      'oci-chunk-min-length': '5',
      'set-cookie': ['a=1', 'b=2'],
      connection: 'close, x-hop',
      'x-hop': 'no',
      'content-length': 0,
    })
    response.end()
  })
  const headers = {
    authorization: 'Bearer secret',
    'content-type': 'application/octet-stream',
    'content-range': '0-299999',
    'content-length': String(bytes.byteLength),
    'user-agent': 'docker/99',
    connection: 'close, x-mine',
    'x-mine': 'no',
    'x-other': 'yes',
  }
  const answer = await send('PATCH', at('blobs/uploads/1', '_state=aB%3d%3D.x&z'), { headers, body: bytes })
  assert.equal(answer.status, 202)
  assert.equal(answer.headers.location, `${uploads}1?_state=aB%3D-_&ns=${encodeURIComponent(registry.name)}`)
  assert.equal(answer.headers['range'], '0-299999')
  assert.equal(answer.headers['docker-upload-uuid'], '1')
  assert.equal(answer.headers['oci-chunk-min-length'], '5')
  assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2'])
  assert.equal(answer.headers['x-hop'], undefined)
  assert.deepEqual(body, bytes)
  const [asked] = registry.asked
  assert.equal(asked!.method, 'PATCH')
  assert.equal(asked!.path, `${uploads}1?_state=aB%3d%3D.x&z`)
  assert.equal(asked!.headers.host, registry.name)
  for (const name of [
    'authorization',
    'content-type',
    'content-range',
    'content-length',
    'user-agent',
    'x-other',
  ])
    assert.equal(asked!.headers[name], headers[name as 'x-other'], name)
  assert.equal(asked!.headers['x-mine'], undefined)
  assert.equal(asked!.headers['transfer-encoding'], undefined)
})

test('a chunked body stays chunked; one that is empty has length 0; none at all stays none', async t => {
  const { registry, at, send } = await startWriteStage(t)
  registry.on(`${uploads}*`, (request, response) => {
    request.resume().on('end', () => response.writeHead(202).end())
  })
  await send('PATCH', at('blobs/uploads/1'), { body: Readable.from([randomBytes(10), randomBytes(20)]) })
  await send('POST', at('blobs/uploads/'), { headers: { 'content-length': '0' } })
  await send('DELETE', at('blobs/uploads/1'))
  const [patch, post, remove] = registry.asked.map(asked => asked.headers)
  assert.equal(patch!['transfer-encoding'], 'chunked')
  assert.equal(post!['content-length'], '0')
  assert.equal(remove!['transfer-encoding'], undefined)
})

test('registry in the path: names of Location and of the repository mounted from are those of each side', async t => {
  const { registry, send } = await startWriteStage(t)
  registry.on(`${uploads}*`, (_request, response) => {
    response.writeHead(201, { location: `/v2/team/app/blobs/sha256:1` }).end()
  })
  const prefix = registry.name
  const path = `/v2/${prefix}/team/app/blobs/uploads/?mount=sha256%3A1&from=${encodeURIComponent(prefix)}%2Fteam%2Fbase`
  const answer = await send('POST', path)
  assert.equal(registry.asked[0]!.path, `${uploads}?mount=sha256%3A1&from=team%2Fbase`)
  assert.equal(answer.headers.location, `/v2/${prefix}/team/app/blobs/sha256:1`)
})

test('an upload that the registry keeps outside /v2/ is found again through its Location', async t => {
  const { registry, at, send } = await startWriteStage(t)
  registry.on(uploads, (_request, response) => {
    response.writeHead(202, { location: `${registry.url}/artifacts-uploads/7?token=x%2Fy` }).end()
  })
  registry.on('/artifacts-uploads/7', (request, response) => {
    request.resume().on('end', () => response.writeHead(201).end())
  })
  const { headers } = await send('POST', at('blobs/uploads/'))
  const { status } = await send('PUT', `${headers.location}&digest=sha256%3Aab`, { body: Buffer.from('x') })
  assert.equal(status, 201)
  assert.equal(registry.asked.at(-1)!.path, '/artifacts-uploads/7?token=x%2Fy&digest=sha256%3Aab')
  const forged = await send('PUT', at('blobs/uploads/~L2V0Yy9wYXNzd2Q.AAAAAAAAAAAAAAAAAAAAAA'), {
    body: Buffer.from('x'),
  })
  assert.equal(forged.status, 404)
  assert.equal(registry.asked.length, 2)
})

test('redirects are the client’s to follow', async t => {
  const { registry, at, send } = await startWriteStage(t)
  registry.on(`${uploads}1`, (_request, response) => {
    response.writeHead(307, { location: 'https://storage.lab/u?sig=1' }).end()
  })
  registry.on(`${uploads}2`, (_request, response) => {
    response.writeHead(307, { location: `${registry.url}${uploads}3` }).end()
  })
  const elsewhere = await send('PUT', at('blobs/uploads/1'), { body: Buffer.from('x') })
  assert.deepEqual([elsewhere.status, elsewhere.headers.location], [307, 'https://storage.lab/u?sig=1'])
  const here = await send('PUT', at('blobs/uploads/2'), { body: Buffer.from('x') })
  assert.match(here.headers.location!, /^\/v2\/team\/app\/blobs\/uploads\/3\?ns=/)
})

test('errors of the registry are the answer, word for word, and are not tried again', async t => {
  const { registry, at, send, results, writeResults } = await startWriteStage(t)
  const challenge = 'Bearer realm="https://auth.lab/t",scope="repository:team/app:pull,push"'
  const body = Buffer.from('{"errors":[{"code":"UNAUTHORIZED"}]}')
  registry.on(uploads, sendBytes(body, { 'www-authenticate': challenge }, 401))
  registry.on(`${uploads}5`, sendBytes(Buffer.from('over'), { 'retry-after': '7' }, 503))
  const refused = await send('POST', at('blobs/uploads/'), { headers: { 'content-length': '0' } })
  assert.deepEqual([refused.status, refused.headers['www-authenticate']], [401, challenge])
  assert.deepEqual([writeResults, results], [['ok'], []])
  assert.deepEqual(refused.body, body)
  const broken = await send('PATCH', at('blobs/uploads/5'), { body: Buffer.from('x') })
  assert.deepEqual([broken.status, broken.headers['retry-after'], broken.body.toString()], [503, '7', 'over'])
  assert.equal(registry.asked.length, 2)
})

test('an answer given before the body was read reaches a client that sends as fast as it can', async t => {
  const { registry, at, open, desk } = await startWriteStage(t)
  const chunk = randomBytes(256 * 1024)
  const answers: Record<string, Answer> = {
    'keeps the connection': (_request, response) =>
      response.writeHead(401, { 'content-length': 4 }).end('stop'),
    // As Go's servers do: an end at once, and a moment before what is unread costs the connection.
    'closes it a moment later': ({ socket }) => {
      socket.end('HTTP/1.1 401 No\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop')
      setTimeout(() => socket.destroy(), 300)
    },
  }
  for (const [registryThat, answer] of Object.entries(answers))
    for (const headers of [{}, { 'content-length': '1000000000' }]) {
      registry.on(`${uploads}*`, answer)
      const call = open('PATCH', at('blobs/uploads/1'), headers)
      const over = new AbortController()
      call.on('error', () => over.abort())
      const flood = async () => {
        while (!over.signal.aborted)
          if (!call.write(chunk)) await once(call, 'drain', { signal: over.signal }).catch(() => {})
      }
      const flooding = flood()
      const got = await readAnswer(call)
      assert.deepEqual([got.status, got.body.toString()], [401, 'stop'], `a registry that ${registryThat}`)
      assert.equal(got.headers.connection, 'close')
      over.abort()
      call.destroy()
      await flooding
      await until(() => desk.running === 0)
    }
})

test('leave to send a body (100-continue) comes once the registry is connected; a refusal comes instead of it', async t => {
  const { registry, at, open } = await startWriteStage(t)
  registry.on(uploads, (request, response) => {
    request.resume().on('end', () => response.writeHead(201).end())
  })
  const headers = { expect: '100-continue', 'content-length': '5' }
  const call = open('POST', at('blobs/uploads/'), headers)
  call.flushHeaders()
  const answer = readAnswer(call)
  await once(call, 'continue')
  call.end('hello')
  assert.equal((await answer).status, 201)
  assert.equal(registry.asked[0]!.headers.expect, undefined)
  const bad = open('POST', '/v2/team/app/blobs/uploads/?ns=not.allowed', headers)
  let continued = false
  bad.once('continue', () => {
    continued = true
  })
  bad.flushHeaders()
  const { status } = await readAnswer(bad)
  bad.destroy()
  assert.deepEqual([status, continued], [403, false])
})

test('a registry that is away is 502 with the error’s own words; writes never go to its mirrors', async t => {
  const { registry, at, send } = await startWriteStage(t)
  const path = at('manifests/v1')
  await registry.stop()
  const answer = await send('PUT', path, { body: Buffer.from('{}') })
  assert.equal(answer.status, 502)
  const error = errorOf({ ...answer, whole: true, localPort: 0 })
  assert.equal(error.detail.code, 'SOURCE_AWAY')
  assert.match(error.detail.tried, /^PUT http:\/\/127\.0\.0\.1:\d+\/v2\/team\/app\/manifests\/v1 failed/)
})

test('a registry that dies in the middle of a body ends the request at once', async t => {
  const { registry, at, open, desk } = await startWriteStage(t)
  registry.on(`${uploads}*`, request => {
    request.once('data', () => request.socket.destroy())
  })
  const call = open('PATCH', at('blobs/uploads/1'))
  call.write(randomBytes(100_000))
  const answer = await readAnswer(call)
  assert.deepEqual([answer.status, answer.headers.connection], [502, 'close'])
  call.destroy()
  await until(() => desk.running === 0)
})

test('a client that dies in the middle of a body ends the registry’s request at once, and does not look finished there', async t => {
  const { registry, at, open, desk } = await startWriteStage(t)
  let ended = 0
  let cut = 0
  registry.on(`${uploads}*`, request => {
    request.on('end', () => ended++)
    request.on('error', () => {})
    request.resume().once('close', () => cut++)
  })
  for (const [n, headers] of [{}, { 'content-length': '1000000' }].entries()) {
    const call = open('PATCH', at('blobs/uploads/1'), headers)
    call.on('error', () => {})
    call.write(randomBytes(100_000))
    await until(() => registry.asked.length === n + 1)
    call.destroy()
    await until(() => cut === n + 1 && desk.running === 0)
  }
  assert.equal(ended, 0)
})

test('a client that leaves before the answer ends the registry’s request', async t => {
  const { registry, at, open, desk } = await startWriteStage(t)
  const cut = Promise.withResolvers<void>()
  registry.on(`${uploads}*`, (_request, response) => {
    response.once('close', () => cut.resolve())
  })
  const call = open('POST', at('blobs/uploads/'), { 'content-length': '0' })
  call.on('error', () => {})
  call.end()
  await until(() => registry.asked.length === 1)
  call.destroy()
  await cut.promise
  await until(() => desk.running === 0)
})

test('a body waits for a registry that does not read: little of it is kept on the way', async t => {
  const { registry, at, open } = await startWriteStage(t)
  const go = Promise.withResolvers<void>()
  let received = 0
  registry.on(`${uploads}*`, async (request, response) => {
    await go.promise
    request.on('data', chunk => {
      received += chunk.length
    })
    request.once('end', () => response.writeHead(202).end())
  })
  const call = open('PATCH', at('blobs/uploads/1'))
  const answer = readAnswer(call)
  const chunk = randomBytes(1024 * 1024)
  let written = 0
  const before = process.memoryUsage().rss
  const total = 256
  const pump = async () => {
    for (let n = 0; n < total; n++) {
      written++
      if (!call.write(chunk)) await once(call, 'drain')
    }
    call.end()
  }
  const pumped = pump()
  // Sent into the void until the sockets between are full: then nothing moves.
  let last = -1
  while (last !== written) {
    last = written
    await new Promise(resolve => setTimeout(resolve, 200))
  }
  assert.ok(written < 64, `${written} MiB were taken in though the registry read nothing`)
  go.resolve()
  await pumped
  assert.equal((await answer).status, 202)
  assert.equal(received, total * chunk.byteLength)
  const growth = process.memoryUsage().rss - before
  assert.ok(growth < 150 * 1024 * 1024, `grew by ${growth} bytes`)
})

test('pushes side by side do not mix', async t => {
  const { registry, at, send } = await startWriteStage(t)
  registry.on(`${uploads}*`, async (request, response) => {
    const hash = createHash('sha256')
    for await (const part of request) hash.update(part)
    response.writeHead(201, { 'docker-content-digest': `sha256:${hash.digest('hex')}` }).end()
  })
  const bodies = Array.from({ length: 8 }, () => randomBytes(3_000_000))
  const answers = await Promise.all(bodies.map((body, n) => send('PUT', at(`blobs/uploads/${n}`), { body })))
  for (const [n, body] of bodies.entries())
    assert.equal(
      answers[n]!.headers['docker-content-digest'],
      `sha256:${createHash('sha256').update(body).digest('hex')}`,
    )
})

test('what may have changed is told before the client hears of it; a refusal changed nothing', async t => {
  const { registry, at, send, written } = await startWriteStage(t)
  const digest = `sha256:${'a'.repeat(64)}`
  registry.on('/v2/team/app/manifests/v1', sendBytes(Buffer.alloc(0), {}, 201))
  registry.on(`/v2/team/app/manifests/${digest}`, sendBytes(Buffer.alloc(0), {}, 201))
  registry.on(`/v2/team/app/blobs/${digest}`, sendBytes(Buffer.alloc(0), {}, 202))
  registry.on('/v2/team/app/manifests/v2', sendBytes(Buffer.alloc(0), {}, 403))
  registry.on('/v2/team/app/manifests/v3', request => request.socket.destroy())
  const body = Buffer.from('{}')
  await send('PUT', at('manifests/v1'), { body })
  await send('PUT', at(`manifests/${digest}`, 'tag=a&tag=b'), { body })
  await send('DELETE', at(`blobs/${digest}`))
  await send('PUT', at('manifests/v2'), { body })
  assert.deepEqual(written, ['v1', digest, 'a', 'b', digest])
  await send('PUT', at('manifests/v3'), { body })
  assert.equal(written.at(-1), 'v3')
})

test('a raw client that sends its body in one go with its head is served, and its connection goes on', async t => {
  const { registry, at, proxy } = await startWriteStage(t)
  registry.on(`${uploads}*`, (request, response) => {
    request.resume().once('end', () => response.writeHead(202, { 'content-length': 0 }).end())
  })
  const socket = connect(Number(new URL(proxy.url).port), '127.0.0.1')
  const one = `PATCH ${at('blobs/uploads/1')} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc`
  socket.write(one + one)
  let text = ''
  socket.on('data', chunk => {
    text += chunk.toString('latin1')
  })
  await until(() => text.split('HTTP/1.1 202').length === 3)
  socket.destroy()
})
