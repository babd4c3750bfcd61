// The node with its stock parts: two nodes talk, the wrong PeerId is refused, a taken port is named.
import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { multiaddr } from '@multiformats/multiaddr'
import { isPantalaError } from '../../shared/errors.ts'
import { toTcpMultiaddr, withPeerId } from '../../shared/transport/addresses.ts'
import { generateIdentity, loadIdentity } from '../../shared/transport/identity.ts'
import { createNode } from '../../shared/transport/node.ts'

const listen = ['/ip4/127.0.0.1/tcp/0']

test('a stream carries bytes between two nodes, and the wrong PeerId is refused', async t => {
  const a = await createNode({ privateKey: await generateIdentity(), listen })
  t.after(() => a.stop())
  const b = await createNode({ privateKey: await generateIdentity(), listen: [] })
  t.after(() => b.stop())
  const got = Promise.withResolvers<string>()
  await a.handle('/test/1', stream => {
    stream.addEventListener('message', event => got.resolve(Buffer.from(event.data.subarray()).toString()))
  })
  const stream = await b.dialProtocol(a.getMultiaddrs(), '/test/1', { signal: AbortSignal.timeout(5000) })
  stream.send(Buffer.from('hello'))
  assert.equal(await got.promise, 'hello')

  const other = await generateIdentity()
  const address = a
    .getMultiaddrs()[0]!
    .toString()
    .replace(/\/p2p\/.*/, '')
  const wrong = multiaddr(withPeerId(address, other.publicKey.toString()))
  await assert.rejects(b.dial(wrong, { signal: AbortSignal.timeout(5000) }))
})

test('a port in use is ADDRESS_IN_USE', async t => {
  const a = await createNode({ privateKey: await generateIdentity(), listen })
  t.after(() => a.stop())
  const taken = a
    .getMultiaddrs()[0]!
    .toString()
    .replace(/\/p2p\/.*/, '')
  await assert.rejects(createNode({ privateKey: await generateIdentity(), listen: [taken] }), error =>
    isPantalaError(error, 'ADDRESS_IN_USE'),
  )
})

test('an identity is made once, readable by its owner alone', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'pantala-identity-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'sub', 'identity')
  const [one, two] = await Promise.all([loadIdentity(file), loadIdentity(file)])
  assert.ok(one.equals(two))
  assert.ok((await loadIdentity(file)).equals(one))
  assert.equal((await stat(file)).mode & 0o777, 0o600)
})

test('addresses', () => {
  assert.equal(toTcpMultiaddr('0.0.0.0:65002'), '/ip4/0.0.0.0/tcp/65002')
  assert.equal(toTcpMultiaddr('[::1]:1'), '/ip6/::1/tcp/1')
  assert.equal(toTcpMultiaddr('super.lab:8001'), '/dns/super.lab/tcp/8001')
  for (const bad of ['x', '1.2.3.4', '1.2.3.4:99999', '::1:5', '/ip4/999.1.1.1/tcp/1'])
    assert.throws(
      () => toTcpMultiaddr(bad),
      error => isPantalaError(error, 'CONFIG_INVALID'),
      bad,
    )
})
