// Which places stand for a registry name, and which names are refused.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPantalaError } from '../../shared/errors.ts'
import { isLinkLocal, isLoopback } from '../../shared/source/reach/address-class.ts'
import { hasOwnIdentity, Upstreams } from '../../shared/source/upstreams.ts'

const config = {
  default: 'docker.io',
  registries: {
    'docker.io': { mirrors: ['https://mirror.lab/hub', 'http://10.0.0.5:5000'] },
    'reg.lab:5000': { insecure: true },
  },
  allow: ['quay.io'],
}
const origins = (upstreams: Upstreams, name: string) =>
  upstreams.endpointsOf(name).map(each => `${each.origin}/${each.prefix}`)
const refuses = (upstreams: Upstreams, name: string, code: 'UPSTREAM_UNKNOWN' | 'UPSTREAM_FORBIDDEN') =>
  assert.throws(
    () => upstreams.endpointsOf(name),
    error => isPantalaError(error, code),
    name,
  )

test('a registry that is shown a certificate or credentials of our own is not asked as anyone', () => {
  const registries = {
    'reg.lab': { certFile: '/c.pem', keyFile: '/k.pem' },
    'index.docker.io': { credentialsFile: '/config.json' },
    'open.lab': { caFile: '/ca.pem' },
  }
  const own = ['REG.lab', 'reg.lab', 'docker.io', 'open.lab', 'other.lab'].map(name =>
    hasOwnIdentity({ ...config, registries }, name),
  )
  assert.deepEqual(own, [true, true, true, false, false])
})

test('lists mirrors first, then the registry, by https unless told otherwise', () => {
  const upstreams = new Upstreams(config)
  const hub = ['https://mirror.lab/hub/', 'http://10.0.0.5:5000/', 'https://registry-1.docker.io/']
  for (const name of ['docker.io', 'index.docker.io', 'Registry-1.Docker.io'])
    assert.deepEqual(origins(upstreams, name), hub)
  assert.deepEqual(origins(upstreams, 'reg.lab:5000'), ['http://reg.lab:5000/'])
  assert.deepEqual(origins(upstreams, 'quay.io'), ['https://quay.io/'])
  assert.deepEqual(
    upstreams.endpointsOf('docker.io').map(each => [each.insecure, each.mirror]),
    [
      [false, true],
      [true, true],
      [false, false],
    ],
  )
})

test('refuses names that are not allowed, and what is no name at all', () => {
  const upstreams = new Upstreams(config)
  refuses(upstreams, 'ghcr.io', 'UPSTREAM_FORBIDDEN')
  for (const name of [
    '',
    '..',
    'a/b',
    'a b',
    'user@quay.io',
    'quay.io?x',
    'quay.io#',
    'a:99999999',
    'x'.repeat(300),
  ])
    refuses(upstreams, name, 'UPSTREAM_UNKNOWN')
})

test('with any name allowed, refuses link-local addresses unless they are listed', () => {
  const upstreams = new Upstreams({ ...config, allow: ['*'] })
  assert.deepEqual(origins(upstreams, 'ghcr.io'), ['https://ghcr.io/'])
  for (const name of [
    '169.254.169.254',
    '169.254.169.254:80',
    '2852039166',
    '0xa9fea9fe',
    '[fe80::1]',
    '[::ffff:169.254.169.254]',
    '[fd00:ec2::254]:80',
  ])
    refuses(upstreams, name, 'UPSTREAM_FORBIDDEN')
  const listed = new Upstreams({ ...config, allow: ['*', '169.254.3.4:5000'] })
  assert.deepEqual(origins(listed, '169.254.3.4:5000'), ['https://169.254.3.4:5000/'])
  assert.equal(listed.refusalOf('169.254.3.4', '169.254.3.4', true), undefined)
  assert.notEqual(listed.refusalOf('evil.example', '169.254.3.4', false), undefined)
})

test('knows link-local addresses in every spelling', () => {
  for (const address of [
    '169.254.0.1',
    'fe80::1%eth0',
    'febf::1',
    '::ffff:a9fe:1',
    '[fe80::1]',
    '100.100.100.200',
    'fd00:ec2::254',
    'fd20:ce:0:0::254',
    '168.63.129.16',
    '::169.254.169.254',
    '64:ff9b::a9fe:a9fe',
    '[64:ff9b::169.254.169.254]',
    '2002:a9fe:a9fe::1',
    'metadata.google.internal',
    'Metadata.Google.Internal.',
  ])
    assert(isLinkLocal(address), address)
  for (const address of ['127.0.0.1', '10.1.2.3', '::1', 'fec0::1', 'registry.lab', '169.253.1.1'])
    assert(!isLinkLocal(address), address)
})

test('knows loopback in every spelling', () => {
  for (const address of [
    '127.0.0.1',
    '127.9.9.9',
    '0.0.0.0',
    '[::1]',
    '::',
    '::ffff:7f00:1',
    '::127.0.0.1',
    '64:ff9b::7f00:1',
  ])
    assert(isLoopback(address), address)
  for (const name of ['localhost', 'a.localhost', 'LOCALHOST.']) assert(isLoopback(name), name)
  for (const address of ['128.0.0.1', '10.0.0.1', '::2', 'localhost.lab', 'notlocalhost'])
    assert(!isLoopback(address), address)
})

test('what a registry sends to may be loopback only where it is listed', () => {
  const upstreams = new Upstreams({ ...config, allow: ['*', 'storage.lab'] })
  assert.equal(upstreams.refusalOf('reg.lab', '127.0.0.1', false), undefined)
  assert.match(upstreams.refusalOf('evil.example', '127.0.0.1', true) ?? '', /loopback/)
  assert.match(upstreams.refusalOf('localhost', 'localhost', true) ?? '', /loopback/)
  assert.equal(upstreams.refusalOf('storage.lab', '127.0.0.1', true), undefined)
  assert.equal(upstreams.refusalOf('minio.corp', '10.1.2.3', true), undefined)
})

test('refuses mirrors with credentials or of another scheme', () => {
  for (const mirror of [
    'https://user:secret@mirror.lab',
    'ftp://mirror.lab',
    'mirror.lab:5000',
    'https://m.lab/?a=b',
  ])
    assert.throws(
      () => new Upstreams({ ...config, registries: { 'docker.io': { mirrors: [mirror] } } }),
      error => isPantalaError(error, 'CONFIG_INVALID') && !error.message.includes('secret'),
    )
})
