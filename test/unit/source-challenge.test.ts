// WWW-Authenticate as registries write it, and as nobody should.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseChallenges } from '../../shared/source/challenge.ts'

const read = (header: string) =>
  parseChallenges(header).map(({ scheme, params }) => [scheme, Object.fromEntries(params)])

test('reads the challenge of a token registry', () => {
  const header =
    'Bearer realm="https://auth.lab/token",service="registry.lab",scope="repository:a/b:pull,push"'
  assert.deepEqual(read(header), [
    [
      'bearer',
      { realm: 'https://auth.lab/token', service: 'registry.lab', scope: 'repository:a/b:pull,push' },
    ],
  ])
})

test('reads several challenges, bare schemes, token68 and odd spacing', () => {
  assert.deepEqual(read('Negotiate, Basic realm = "x" , BEARER Realm=plain,service="a, b=c"'), [
    ['negotiate', {}],
    ['basic', { realm: 'x' }],
    ['bearer', { realm: 'plain', service: 'a, b=c' }],
  ])
  assert.deepEqual(read('NTLM abc/+==, Basic realm="y"'), [
    ['ntlm', {}],
    ['basic', { realm: 'y' }],
  ])
})

test('unescapes quoted strings and keeps the first of a repeated parameter', () => {
  assert.deepEqual(read(String.raw`Bearer realm="a\"b\\c",realm="other"`), [['bearer', { realm: 'a"b\\c' }]])
})

test('stops at a fault and keeps what came before', () => {
  assert.deepEqual(read('Basic realm="x", Bearer realm="unclosed'), [
    ['basic', { realm: 'x' }],
    ['bearer', {}],
  ])
  assert.deepEqual(read('Bearer __proto__="x"')[0]?.[0], 'bearer')
  assert.deepEqual(read(`Bearer realm="${'x'.repeat(9_000)}"`), [])
})

test('never throws, never runs long, never gives more than its bounds', () => {
  const pieces = fc.constantFrom(
    'Bearer',
    'Basic',
    ' ',
    ',',
    '=',
    '"',
    '\\',
    'realm',
    'x',
    '/',
    '\t',
    '==',
    'é',
    '\u0000',
  )
  const header = fc.oneof(
    fc.string({ maxLength: 500 }),
    fc.array(pieces, { maxLength: 400 }).map(parts => parts.join('')),
  )
  fc.assert(
    fc.property(header, text => {
      const begun = performance.now()
      const challenges = parseChallenges(text)
      assert(challenges.length <= 8)
      for (const { params } of challenges) assert(params.size <= 16)
      assert(performance.now() - begun < 200)
    }),
    { numRuns: 2_000 },
  )
})
