// What to listen on, and which of a machine's addresses to tell others, in which order.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dialableAddresses, listenMultiaddrs } from '../../shared/transport/addresses.ts'
import { localAddressTowards } from '../../shared/transport/local-address.ts'

test('[::] is both families, all else is itself', () => {
  assert.deepEqual(listenMultiaddrs('[::]:65002'), ['/ip6/::/tcp/65002', '/ip4/0.0.0.0/tcp/65002'])
  assert.deepEqual(listenMultiaddrs('[::1]:1'), ['/ip6/::1/tcp/1'])
  assert.deepEqual(listenMultiaddrs('0.0.0.0:1'), ['/ip4/0.0.0.0/tcp/1'])
})

test('addresses of one machine or one link are told only where there are no others', () => {
  const local = ['/ip4/127.0.0.1/tcp/1', '/ip6/::1/tcp/1', '/ip6/fe80::1/tcp/1', '/ip4/169.254.3.4/tcp/1']
  assert.deepEqual(dialableAddresses([...local, '/ip4/10.0.0.1/tcp/1']), ['/ip4/10.0.0.1/tcp/1'])
  assert.deepEqual(dialableAddresses([...local, '/ip6/fd00::2/tcp/1']), ['/ip6/fd00::2/tcp/1'])
  assert.deepEqual(new Set(dialableAddresses(local)), new Set(local))
})

test('on a machine with hundreds of addresses the one that others are reached from comes first, and both families are among the first', () => {
  const services = Array.from({ length: 300 }, (_, index) => `/ip4/10.96.${index >> 8}.${index & 255}/tcp/1`)
  const told = dialableAddresses(
    [...services, '/ip4/192.0.2.5/tcp/1', '/ip6/2001:db8::5/tcp/1'],
    '192.0.2.5',
  ).slice(0, 8)
  assert.equal(told[0], '/ip4/192.0.2.5/tcp/1')
  assert.ok(told.includes('/ip6/2001:db8::5/tcp/1'))
})

test('the kernel tells which address packets leave from', async () => {
  assert.equal(await localAddressTowards('/ip4/127.0.0.1/tcp/8001'), '127.0.0.1')
  assert.equal(await localAddressTowards('/dns/localhost/tcp/8001'), undefined)
})
