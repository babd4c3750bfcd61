// Several ports over one desk: none listens if one cannot, and all close before what runs is waited for.
import assert from 'node:assert/strict'
import dns from 'node:dns/promises'
import { once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ListenerInit, ProxyListeners } from '../../dfdaemon/proxy/listeners.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { startProxy } from './proxy-harness.ts'

const initFor = (registry: string, port = 0): ListenerInit => ({
  setting: `proxy.registries 127.0.0.1:${port}`,
  address: { host: '127.0.0.1', port },
  face: { registry, isFixed: true },
})

async function startListeners(t: TestContext) {
  const stage = await startProxy()
  const listeners = new ProxyListeners(
    { desk: stage.desk },
    { listeners: [initFor('one.lab'), initFor('two.lab')] },
  )
  await listeners.start()
  t.after(() => Promise.all([listeners.stop(0), stage.proxy.stop(0)]))
  return { ...stage, listeners, urls: listeners.urls as [string, string] }
}

async function isOpen(url: string, host = '127.0.0.1'): Promise<boolean> {
  const socket = connect(Number(new URL(url).port), host)
  const open = await Promise.race([
    once(socket, 'connect').then(() => true),
    once(socket, 'error').then(() => false),
  ]).catch(() => false)
  socket.destroy()
  return open
}

test('each port asks its own registry, whatever the request names', async t => {
  const { urls, asked } = await startListeners(t)
  for (const url of urls) assert.equal((await fetch(`${url}/v2/a/b/manifests/v1?ns=three.lab`)).status, 200)
  assert.deepEqual(
    asked.map(({ registry, repository }) => `${registry}/${repository}`),
    ['one.lab/a/b', 'two.lab/a/b'],
  )
})

test('a port that is taken is named, and the others are given back', async t => {
  const { desk, urls } = await startListeners(t)
  const taken = Number(new URL(urls[0]).port)
  const second = new ProxyListeners({ desk }, { listeners: [initFor('one.lab'), initFor('two.lab', taken)] })
  await assert.rejects(
    second.start(),
    error =>
      isPantalaError(error, 'ADDRESS_IN_USE') && error.detail === `proxy.registries 127.0.0.1:${taken}`,
  )
  assert.deepEqual(second.urls, ['', ''])
})

test('a stop closes all ports at once and lets what runs finish', async t => {
  const { listeners, urls, behaviour } = await startListeners(t)
  const gate = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<void>()
  behaviour.forward = async () => {
    begun.resolve()
    await gate.promise
    return { status: 200, headers: {}, body: '{"tags":[]}' }
  }
  const running = fetch(`${urls[0]}/v2/a/b/tags/list`)
  await begun.promise
  let stopped = false
  const stopping = listeners.stop(20_000).then(() => {
    stopped = true
  })
  for (const url of urls) assert.equal(await isOpen(url), false)
  assert.equal(stopped, false)
  gate.resolve()
  assert.equal(await (await running).text(), '{"tags":[]}')
  await stopping
})

test('localhost is every address that it stands for here, under one port', async t => {
  const { desk } = await startListeners(t)
  // The last is of a range that no machine has: named in a hosts file, and not there.
  const addresses = ['127.0.0.1', '127.0.0.2', '127.0.0.1', '192.0.2.1'].map(address => ({
    address,
    family: 4,
  }))
  t.mock.method(dns, 'lookup', async () => addresses)
  syncBuiltinESMExports()
  const listeners = new ProxyListeners(
    { desk },
    { listeners: [{ ...initFor('one.lab'), address: { host: 'localhost', port: 0 } }] },
  )
  await listeners.start()
  t.mock.restoreAll()
  syncBuiltinESMExports()
  const [url] = listeners.urls as [string]
  const opened = () => Promise.all(['127.0.0.1', '127.0.0.2'].map(host => isOpen(url, host)))
  assert.deepEqual(await opened(), [true, true])
  await listeners.stop(0)
  assert.deepEqual(await opened(), [false, false])
})
