// Any registry is allowed only to callers on the same machine.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isLoopback, refuseOpenProxy } from '../../dfdaemon/proxy/open-proxy.ts'
import { isPantalaError } from '../../shared/errors.ts'

test('loopback is known in every spelling, and nothing else is', () => {
  for (const host of ['127.0.0.1', '127.8.9.10', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', 'localhost'])
    assert(isLoopback(host), host)
  for (const host of [
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '169.254.1.1',
    '::ffff:10.0.0.1',
    'node-1',
    'localhost.evil.lab',
    '',
  ])
    assert(!isLoopback(host), host)
})

test('a proxy beyond loopback needs a list of registries', () => {
  const open = (error: unknown) =>
    isPantalaError(error, 'CONFIG_INVALID') && /upstreams\.allow/.test(error.message)
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'node-1'])
    assert.throws(() => refuseOpenProxy(host, ['reg.lab', '*']), open)
  assert.throws(() => refuseOpenProxy('0.0.0.0', ['*'], 'proxy.registries'), /proxy\.registries 0\.0\.0\.0/)
  refuseOpenProxy('0.0.0.0', ['reg.lab'])
  refuseOpenProxy('0.0.0.0', [])
  refuseOpenProxy('127.0.0.1', ['*'])
})
