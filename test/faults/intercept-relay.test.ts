// No open relay: whom the dfdaemon as proxy connects to, and whom it never does.
import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { isPantalaError } from '../../shared/errors.ts'
import { ask, sendConnect, startInterceptor, startPlainUpstream } from './intercept-harness.ts'

/** Status of a CONNECT and of a plain request to the same target. */
async function tryBoth(rig: { readonly port: number }, target: string): Promise<[number, number, string]> {
  const { status, body, socket } = await sendConnect(rig, target)
  socket.destroy()
  const plain = await ask(rig, `http://${target}/x`)
  return [status, plain.status, body + plain.body]
}

test('link-local, metadata, loopback and multicast targets are refused, however they are written', async t => {
  const rig = await startInterceptor(t)
  for (const target of [
    '169.254.169.254:80',
    '[::ffff:169.254.169.254]:80',
    '[fe80::1]:443',
    '0xa9fea9fe:80',
    'metadata.google.internal:80',
    '127.0.0.1:8080',
    '127.1:8080',
    '0.0.0.0:8080',
    '[::1]:8080',
    'localhost:8080',
    '224.0.0.1:8080',
  ]) {
    const [tunnelled, forwarded, body] = await tryBoth(rig, target)
    assert.deepEqual([tunnelled, forwarded], [403, 403], target)
    assert.match(body, /UPSTREAM_FORBIDDEN/)
  }
  assert.ok(rig.connects.every(result => result === 'refused'))
})

test('other services’ ports are refused unless listed', async t => {
  const rig = await startInterceptor(t)
  for (const port of [22, 25, 53, 445])
    assert.deepEqual((await tryBoth(rig, `reg.invalid:${port}`)).slice(0, 2), [403, 403])
  // Not refused: there is no such host.
  assert.deepEqual((await tryBoth(rig, 'reg.invalid:5000')).slice(0, 2), [502, 502])
})

test('where strangers reach the proxy, only what is listed is', async t => {
  const upstream = await startPlainUpstream(t)
  const rig = await startInterceptor(t, {
    host: '0.0.0.0',
    allow: ['*'],
    forward: ['token.invalid', '.cdn.invalid'],
    registries: { [upstream.name]: { insecure: true } },
  })
  const statusOf = async (target: string) => (await tryBoth(rig, target)).slice(0, 2)
  assert.deepEqual(await statusOf('example.invalid:443'), [403, 403])
  assert.deepEqual(await statusOf('token.invalid:8443'), [403, 403])
  assert.deepEqual(await statusOf('token.invalid:443'), [502, 502])
  assert.deepEqual(await statusOf('a.cdn.invalid:443'), [502, 502])
  assert.deepEqual(await statusOf('cdn.invalid:443'), [403, 403])
  assert.deepEqual(await statusOf(upstream.name), [200, 200])
})

test('the machine’s own addresses are known however they are written', async t => {
  const rig = await startInterceptor(t)
  const own = Object.values(networkInterfaces()).flatMap(entries => entries ?? [])
  assert.ok(own.length > 0)
  for (const { address, family } of own)
    for (const host of family === 'IPv4' ? [address, `::ffff:${address}`] : [address])
      assert.throws(
        () => rig.guard.checkAddress({ host, port: rig.port }, host),
        error => isPantalaError(error, 'LOOP_DETECTED'),
        host,
      )
})

test('a request that leads back here is refused, by address and by what it came through', async t => {
  const upstream = await startPlainUpstream(t)
  const rig = await startInterceptor(t, { forward: [upstream.name] })
  assert.deepEqual((await tryBoth(rig, `127.0.0.1:${rig.port}`)).slice(0, 2), [508, 508])
  assert.deepEqual((await tryBoth(rig, upstream.name)).slice(0, 2), [200, 200])
  // As if it were the port of another listener of this dfdaemon, listed by mistake.
  rig.guard.addOwnPort(upstream.port)
  assert.deepEqual(
    (await tryBoth(rig, upstream.name)).slice(0, 2),
    [508, 200],
    'the connection that was kept is used',
  )
  const mirror = await startPlainUpstream(t, async (request, response) => {
    // Sends what it is asked back to where it came from.
    const again = await ask(looping, `http://${mirror.name}${request.url}`, {
      headers: { via: request.headers.via! },
    })
    response.writeHead(again.status).end(again.body)
  })
  const looping = await startInterceptor(t, { forward: [mirror.name] })
  const answer = await ask(looping, `http://${mirror.name}/x`)
  assert.equal(answer.status, 508)
  assert.match(answer.body.toString(), /LOOP_DETECTED/)
  assert.equal(mirror.asked.length, 1)
})

test('what is no request for a proxy is 400', async t => {
  const rig = await startInterceptor(t)
  for (const target of [
    'reg.lab',
    'reg.lab:0',
    'reg.lab:99999',
    ':443',
    'user:pw@reg.lab:443',
    'reg.lab:443/x',
    'a b:1',
  ])
    assert.equal((await sendConnect(rig, target)).status, 400, target)
  for (const url of [
    'https://reg.lab/x',
    'ftp://reg.lab/x',
    'http:///x',
    'http://user:pw@reg.lab/x',
    'http://[bad/x',
  ])
    assert.equal((await ask(rig, url)).status, 400, url)
})
