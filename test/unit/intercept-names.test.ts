// How hosts are read from requests and options, and which headers a proxy passes on.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { passBackHeaders, passOnHeaders } from '../../dfdaemon/intercept/message-headers.ts'
import {
  checkForwardList,
  checkInterceptedHosts,
  ForwardList,
  readInterceptedHosts,
} from '../../dfdaemon/intercept/outbound/host-list.ts'
import { readTarget, registryName, showTarget } from '../../dfdaemon/intercept/outbound/host-name.ts'

test('one spelling for every way to write a host', () => {
  for (const [text, host, port] of [
    ['reg.lab:443', 'reg.lab', 443],
    ['REG.Lab.:5000', 'reg.lab', 5000],
    ['10.1:80', '10.0.0.1', 80],
    ['0x7f.1:80', '127.0.0.1', 80],
    ['[2001:DB8::0:1]:443', '2001:db8::1', 443],
    ['bücher.example:443', 'xn--bcher-kva.example', 443],
    ['my_registry:5000', 'my_registry', 5000],
  ] as const) {
    assert.deepEqual(readTarget(text), { host, port }, text)
  }
  assert.deepEqual(readTarget('reg.lab', 443), { host: 'reg.lab', port: 443 })
})

test('what is no host and port is none', () => {
  for (const text of [
    '',
    'reg.lab',
    ':443',
    'reg.lab:0',
    'reg.lab:65536',
    'reg.lab:x',
    'a@reg.lab:443',
    'reg.lab/x:443',
    'reg lab:443',
    '[::1:443',
    '::1:443',
    `${'a'.repeat(64)}.lab:443`,
    `${'a.'.repeat(200)}lab:443`,
    'reg..lab:443',
    '-reg.lab:443',
  ])
    assert.equal(readTarget(text), undefined, text)
})

test('names are written as registries are', () => {
  assert.equal(registryName({ host: 'reg.lab', port: 443 }, 443), 'reg.lab')
  assert.equal(registryName({ host: 'reg.lab', port: 80 }, 443), 'reg.lab:80')
  assert.equal(registryName({ host: '::1', port: 443 }, 443), '[::1]')
  assert.equal(showTarget({ host: '::1', port: 443 }), '[::1]:443')
})

test('intercepted hosts: 443 unless told, Docker Hub by the name that runtimes connect to', () => {
  assert.deepEqual(
    readInterceptedHosts(['docker.io', 'index.docker.io', 'reg.lab', 'reg.lab:443', 'reg.lab:5000']).map(
      showTarget,
    ),
    ['registry-1.docker.io:443', 'reg.lab:443', 'reg.lab:5000'],
  )
  assert.equal(checkInterceptedHosts(['reg.lab']), undefined)
  assert.match(checkInterceptedHosts(['*.lab'])!, /no registry/)
  assert.match(
    checkInterceptedHosts(Array.from({ length: 65 }, (_, index) => `h${index}.lab`))!,
    /64 hosts at most/,
  )
})

test('forwarded hosts: by name at the usual ports, by name and port, by domain', () => {
  const list = new ForwardList(['reg.lab', 'other.lab:5000', '.cdn.lab'])
  const has = (text: string) => list.has(readTarget(text)!)
  assert.deepEqual(
    ['reg.lab:443', 'reg.lab:80', 'other.lab:5000', 'a.cdn.lab:443', 'a.b.cdn.lab:80'].map(has),
    [true, true, true, true, true],
  )
  assert.deepEqual(
    ['reg.lab:5000', 'other.lab:443', 'cdn.lab:443', 'xcdn.lab:443', 'a.cdn.lab:22', 'a.reg.lab:443'].map(
      has,
    ),
    [false, false, false, false, false, false],
  )
  assert.equal(checkForwardList(['reg.lab', '.cdn.lab', 'a:1']), undefined)
  for (const wrong of ['*', '.cdn.lab:443', 'http://x', ''])
    assert.match(checkForwardList([wrong])!, /is no host/)
})

test('headers of one connection are left out, on both ways', () => {
  const raw = [
    'Host',
    'a',
    'X-A',
    '1',
    'X-A',
    '2',
    'Connection',
    'close, X-Hop',
    'x-hop',
    '1',
    'TE',
    'trailers',
    'Via',
    '1.1 other',
  ]
  assert.deepEqual(passOnHeaders(raw, 'reg.lab', 'me'), [
    'host',
    'reg.lab',
    'x-a',
    '1',
    'x-a',
    '2',
    'via',
    '1.1 other, 1.1 me',
  ])
  assert.throws(() => passOnHeaders(['Via', '1.1 a, 1.1 me'], 'reg.lab', 'me'), { code: 'LOOP_DETECTED' })
  assert.deepEqual(
    passBackHeaders({
      'content-length': '1',
      connection: 'x-hop',
      'x-hop': '1',
      'keep-alive': 'timeout=5',
      'set-cookie': ['a', 'b'],
      via: '1.1 cdn',
    }),
    { 'content-length': '1', 'set-cookie': ['a', 'b'], via: '1.1 cdn' },
  )
})
