// What holds for any target and any headers: one spelling per host, no way to a forbidden address, no header of one connection passed on.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { passBackHeaders, passOnHeaders } from '../../dfdaemon/intercept/message-headers.ts'
import { readTarget, showTarget } from '../../dfdaemon/intercept/outbound/host-name.ts'
import { OutboundGuard } from '../../dfdaemon/intercept/outbound/outbound-guard.ts'

const upstreams = { default: 'docker.io', registries: {}, allow: ['*'] }

test('no text makes the reader throw, and what it reads it reads again', () => {
  const texts = fc.oneof(
    fc.string(),
    fc.webAuthority({ withIPv4: true, withIPv4Extended: true, withIPv6: true, withPort: true }),
  )
  fc.assert(
    fc.property(texts, text => {
      const target = readTarget(text, 443)
      if (target === undefined) return
      assert.deepEqual(readTarget(showTarget(target)), target)
      assert.doesNotMatch(showTarget(target), /[\s@/?#]/)
    }),
  )
})

/** An IPv4 address in the ways that resolvers and URL parsers take. */
function spellings(bytes: readonly number[]): string[] {
  const [a, b, c, d] = bytes as [number, number, number, number]
  const whole = ((a * 256 + b) * 256 + c) * 256 + d
  const hex = (number: number): string => number.toString(16)
  return [
    bytes.join('.'),
    String(whole),
    `0x${hex(whole)}`,
    bytes.map(byte => `0${byte.toString(8)}`).join('.'),
    `${a}.${b}.${c * 256 + d}`,
    `[::ffff:${bytes.join('.')}]`,
    `[::ffff:${hex(a * 256 + b)}:${hex(c * 256 + d)}]`,
    `[64:ff9b::${bytes.join('.')}]`,
    `[2002:${hex(a * 256 + b)}:${hex(c * 256 + d)}::1]`,
  ]
}

test('link-local, loopback and this-host addresses are refused in every spelling', () => {
  const guard = new OutboundGuard({ upstreams, forward: [], intercepted: [], isLocal: true })
  const byte = fc.integer({ min: 0, max: 255 })
  const forbidden = fc.oneof(
    fc.tuple(fc.constant(169), fc.constant(254), byte, byte),
    fc.tuple(fc.constant(127), byte, byte, byte),
    fc.tuple(fc.constant(0), byte, byte, fc.integer({ min: 1, max: 255 })),
  )
  fc.assert(
    fc.property(forbidden, bytes => {
      for (const text of spellings(bytes)) {
        const target = readTarget(`${text}:8443`)
        assert.ok(target !== undefined, text)
        assert.throws(
          () => {
            guard.check(target)
            guard.checkAddress(target, target.host)
          },
          { code: 'UPSTREAM_FORBIDDEN' },
          text,
        )
      }
    }),
  )
})

test('headers of one connection never pass, all others do, in order', () => {
  const hops = [
    'Connection',
    'Keep-Alive',
    'TE',
    'Transfer-Encoding',
    'Upgrade',
    'Proxy-Authorization',
    'proxy-connection',
    'Expect',
    'Trailer',
  ]
  const own = fc.tuple(
    fc.constantFrom('Accept', 'Range', 'x-a', 'X-B', 'authorization'),
    fc.constantFrom('1', '2', 'a, b'),
  )
  const hop = fc.tuple(fc.constantFrom(...hops), fc.constantFrom('close', 'x-hop', 'chunked'))
  const headers = fc.array(fc.oneof(own, hop, fc.constant<[string, string]>(['X-Hop', 'v'])))
  fc.assert(
    fc.property(headers, pairs => {
      const sent = passOnHeaders(pairs.flat(), 'reg.lab', 'me')
      const names = sent.filter((_, index) => index % 2 === 0)
      assert.ok(names.every(name => !hops.some(one => one.toLowerCase() === name)))
      assert.equal(names.filter(name => name === 'host').length, 1)
      const isNamed = pairs.some(([name, value]) => name === 'Connection' && value === 'x-hop')
      const kept = pairs.filter(([name]) => !hops.includes(name) && !(isNamed && name === 'X-Hop'))
      const expected = [
        'host',
        'reg.lab',
        ...kept.flatMap(([name, value]) => [name.toLowerCase(), value]),
        'via',
        '1.1 me',
      ]
      assert.deepEqual(sent, expected)
      const back = passBackHeaders(
        Object.fromEntries(pairs.map(([name, value]) => [name.toLowerCase(), value])),
      )
      assert.ok(Object.keys(back).every(name => !hops.some(one => one.toLowerCase() === name)))
    }),
  )
})
