// What clients and registries put in paths and headers, whatever it is: read within bounds, refused by name, never passed on raw.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readOciPath } from '../../dfdaemon/proxy/oci-path.ts'
import { rewriteLinks } from '../../dfdaemon/proxy/paging-link.ts'
import { RANGES_MAX, readRange } from '../../dfdaemon/proxy/range.ts'
import { isDigest } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { readContentRange, readLength, readMediaType } from '../../shared/source/answer-headers.ts'
import { parseChallenges } from '../../shared/source/challenge.ts'
import { fuzz, nearly } from '../harness/fuzz.ts'

const hex = 'ab'.repeat(32)
const paths = [
  '/v2/',
  '/v2/library/busybox/manifests/latest',
  `/v2/reg.lab:5000/team/app/blobs/sha256:${hex}`,
  `/v2/a/b/referrers/sha256:${hex}`,
  '/v2/localhost/a/tags/list',
  '/v2/a/blobs/uploads/0b2c-11',
  `/v2/[::1]:5000/a/manifests/sha512:${hex}${hex}`,
]
const pathTokens = [
  '/',
  '//',
  '..',
  '%2e%2e',
  '%2F',
  '%',
  '@',
  'user:pass@',
  ':',
  '?',
  '#',
  '\r\n',
  '\0',
  '\\',
  'manifests/',
  'blobs/',
  'docker.io/',
  'Ä',
  '%00',
  '_',
  '-',
  'x'.repeat(300),
]

test('a path of the registry API is read as the grammar says, or refused as the caller’s fault', t => {
  const face = fc.record({ registry: fc.constantFrom('docker.io', 'reg.lab:5000'), isFixed: fc.boolean() })
  const ns = fc.option(nearly(['reg.lab', 'ghcr.io', '10.0.0.1:5000'], pathTokens), { nil: undefined })
  fuzz(
    t,
    fc.property(nearly(paths, pathTokens), ns, face, (path, named, where) => {
      let read: ReturnType<typeof readOciPath>
      try {
        read = readOciPath(path, named, where)
      } catch (error) {
        assert.ok(isPantalaError(error), String(error))
        assert.ok(error.entry.status >= 400 && error.entry.status < 500, error.code)
        assert.ok((error.detail ?? '').length <= 300)
        assert.ok(!/pass@/.test(error.detail ?? ''), 'a password is repeated')
        return
      }
      const { registry, repository, target, name, rest } = read
      assert.match(registry, /^[a-z0-9.:[\]-]{1,}$/)
      if (where.isFixed) assert.equal(registry, where.registry)
      if (target.kind === 'root') return
      assert.match(repository, /^[a-z0-9]+([._/-]+[a-z0-9]+)*$/)
      assert.ok(repository.length <= 255 && !repository.includes('..') && !repository.includes('//'))
      assert.equal(`/v2/${name}/${rest}`, path)
      if (target.kind === 'blob' || target.kind === 'referrers') assert.ok(isDigest(target.digest))
      if (target.kind === 'manifest' && !isDigest(target.reference))
        assert.match(target.reference, /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/)
    }),
    1000,
  )
})

const ranges = [
  'bytes=0-99',
  'bytes=5-',
  'bytes=-5',
  'bytes=0-1,4-5, 7-',
  'bytes=0-0,2-2',
  'BYTES=1-2',
  'items=0-5',
]
const rangeTokens = [
  '-',
  '--',
  ',',
  ' ',
  '\t',
  '=',
  '0',
  '9',
  '18446744073709551616',
  'bytes=',
  '0-',
  '-0',
  '1-1,',
  '٣',
]

test('ranges lie within the body, one beside the other, and a single one is what numbers of any size say', t => {
  fuzz(
    t,
    fc.property(nearly(ranges, rangeTokens), fc.nat({ max: 200 }), (header, size) => {
      const spans = readRange(header, size)
      if (spans === undefined || spans === 'unsatisfiable') return
      assert.ok(spans.length >= 1 && spans.length <= RANGES_MAX)
      const covered = new Set<number>()
      for (const { offset, length } of spans) {
        assert.ok(Number.isSafeInteger(offset) && length > 0 && offset + length <= size, header)
        for (let at = offset; at < offset + length; at++) {
          assert.ok(!covered.has(at), header)
          covered.add(at)
        }
      }
    }),
    1000,
  )
  const number = fc.bigInt({ min: 0n, max: 2n ** 70n })
  fuzz(
    t,
    fc.property(number, fc.option(number, { nil: undefined }), fc.nat({ max: 1000 }), (first, last, size) => {
      const answer = readRange(`bytes=${first}-${last ?? ''}`, size)
      if (last !== undefined && last < first) return assert.equal(answer, undefined)
      if (first >= BigInt(size)) return assert.equal(answer, 'unsatisfiable')
      const end = last === undefined || last >= BigInt(size) ? size : Number(last) + 1
      assert.deepEqual(answer, [{ offset: Number(first), length: end - Number(first) }])
    }),
  )
})

const challenges = [
  'Bearer realm="https://auth.lab/token",service="reg",scope="repository:a/b:pull"',
  'Basic realm="x", Bearer realm="y"',
  'Negotiate YWJj=, Basic realm=x',
  'Bearer',
]
const challengeTokens = ['"', '\\"', '\\', ',', '=', ' ', '\t', ';', 'Basic ', 'realm=', '\r\n', ',,,', '"a"']

test('challenges of any form are read within bounds and time', t => {
  fuzz(
    t,
    fc.property(nearly(challenges, challengeTokens), header => {
      const read = parseChallenges(header)
      assert.ok(read.length <= 8)
      for (const { scheme, params } of read) {
        assert.equal(scheme, scheme.toLowerCase())
        assert.ok(scheme.length > 0 && params.size <= 16)
      }
    }),
    1000,
  )
  for (const evil of [
    '"'.repeat(8000),
    'a='.repeat(4000),
    `Bearer ${'\\"'.repeat(4000)}`,
    `a ${' '.repeat(8000)}`,
  ]) {
    const startedAt = performance.now()
    parseChallenges(evil)
    assert.ok(performance.now() - startedAt < 500, evil.slice(0, 20))
  }
})

test('a challenge that is well formed is understood to the letter', t => {
  const token = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,10}$/)
  const params = fc.dictionary(token, fc.string({ maxLength: 30 }), { minKeys: 1, maxKeys: 6 })
  fuzz(
    t,
    fc.property(token, params, (scheme, told) => {
      const quoted = Object.entries(told).map(
        ([name, value]) => `${name}="${value.replace(/["\\]/g, '\\$&')}"`,
      )
      const [read] = parseChallenges(`${scheme} ${quoted.join(', ')}`)
      assert.equal(read?.scheme, scheme)
      assert.deepEqual(Object.fromEntries(read!.params), { ...told })
    }),
  )
})

const links = [
  '</v2/a/tags/list?n=5&last=x>; rel="next"',
  '<https://reg.lab/v2/a/tags/list?last=b>;rel=next, </x>; rel="prev"',
]
const linkTokens = [
  '<',
  '>',
  ';',
  '"',
  ',',
  'rel=',
  '//evil.lab/',
  'javascript:',
  '\r\nset-cookie: a=b',
  '?',
  '&ns=evil',
  '%0d%0a',
  'Ä',
  ' ',
]

test('links to the next page lead back to the list that was asked for, and carry nothing else', t => {
  const asked = fc.record({
    path: fc.constantFrom('/v2/a/tags/list', '/v2/reg.lab/a/tags/list'),
    ns: fc.constantFrom(undefined, 'reg.lab'),
  })
  fuzz(
    t,
    fc.property(nearly(links, linkTokens), asked, (header, list) => {
      const rewritten = rewriteLinks(header, list)
      if (rewritten === undefined) return
      assert.doesNotMatch(rewritten, /[^\x20-\x7e]/)
      for (const link of rewritten.split(', ')) {
        const [, target] = /^<([^<>"\s]+)>; rel="[a-zA-Z]{1,16}"$/.exec(link) ?? []
        assert.ok(target?.startsWith(`${list.path}?`), link)
        const { origin, searchParams } = new URL(target!, 'http://us.lab')
        assert.equal(origin, 'http://us.lab')
        assert.deepEqual(searchParams.getAll('ns'), list.ns === undefined ? [] : [list.ns])
      }
    }),
    1000,
  )
})

test('headers of a registry’s answer give sound numbers and types, or nothing', t => {
  const numbers = nearly(
    [
      '0',
      '1234',
      'bytes 5-9/10',
      'bytes */10',
      'bytes 0-0/*',
      'application/vnd.oci.image.index.v1+json; x=y',
    ],
    ['-', '/', '*', '9'.repeat(16), ' ', 'bytes', ';', '+', 'e5'],
  )
  fuzz(
    t,
    fc.property(numbers, fc.uint8Array({ maxLength: 40 }), (text, body) => {
      const length = readLength({ 'content-length': text })
      assert.ok(length === undefined || (Number.isSafeInteger(length) && length >= 0))
      const range = readContentRange({ 'content-range': text })
      for (const number of [range?.first, range?.size])
        assert.ok(number === undefined || Number.isSafeInteger(number))
      assert.match(
        readMediaType({ 'content-type': text }, body),
        /^([a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+)?$/,
      )
    }),
    2000,
  )
})
