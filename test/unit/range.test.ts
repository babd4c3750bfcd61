// Range headers by RFC 9110, section 14.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { RANGES_MAX, readRange } from '../../dfdaemon/proxy/range.ts'

test('one range of bytes is honoured: from-to, open, suffix', () => {
  assert.deepEqual(readRange('bytes=0-0', 10), [{ offset: 0, length: 1 }])
  assert.deepEqual(readRange('bytes=3-', 10), [{ offset: 3, length: 7 }])
  assert.deepEqual(readRange('bytes=3-99', 10), [{ offset: 3, length: 7 }])
  assert.deepEqual(readRange('bytes=-4', 10), [{ offset: 6, length: 4 }])
  assert.deepEqual(readRange('bytes=-99', 10), [{ offset: 0, length: 10 }])
  assert.deepEqual(readRange('BYTES= \t1-2 , ', 10), [{ offset: 1, length: 2 }])
})

test('several ranges are honoured in the order asked for; those past the end are left out', () => {
  assert.deepEqual(readRange('bytes=5-6, 0-1 ,,-1,99-', 10), [
    { offset: 5, length: 2 },
    { offset: 0, length: 2 },
    { offset: 9, length: 1 },
  ])
})

test('ranges that overlap, or are too many, are answered with the whole', () => {
  assert.equal(readRange('bytes=0-5,5-6', 10), undefined)
  assert.equal(readRange('bytes=8-,-1', 10), undefined)
  const many = (count: number) =>
    readRange(
      `bytes=${Array.from({ length: count }, (_, index) => `${index * 2}-${index * 2}`).join(',')}`,
      1000,
    )
  assert.equal(many(RANGES_MAX)?.length, RANGES_MAX)
  assert.equal(many(RANGES_MAX + 1), undefined)
})

test('a range past the end is not satisfiable', () => {
  for (const header of [
    'bytes=10-',
    'bytes=10-12',
    'bytes=-0',
    'bytes=10-,11-',
    'bytes=99999999999999999999-',
  ])
    assert.equal(readRange(header, 10), 'unsatisfiable', header)
})

test('of an empty body no range can be sent; a suffix of it is the whole', () => {
  assert.equal(readRange('bytes=0-', 0), 'unsatisfiable')
  assert.equal(readRange('bytes=0-9', 0), 'unsatisfiable')
  assert.equal(readRange('bytes=-1', 0), undefined)
})

test('what is malformed or of another unit is answered with the whole', () => {
  assert.equal(readRange(undefined, 10), undefined)
  const headers = [
    '',
    'bytes',
    'bytes=',
    'bytes=,',
    'bytes=-',
    'bytes=5-2',
    'bytes=a-b',
    'lines=1-2',
    'bytes=1',
    'bytes=1 - 2',
  ]
  for (const header of [
    ...headers,
    'bytes=0-1,x',
    'bytes=0-1, bytes=2-3',
    'bytes=99999999999999999999-99999999999999999998',
  ])
    assert.equal(readRange(header, 10), undefined, header)
})

type Spec = { first: number; last: number | undefined } | { suffix: number }

const spec: fc.Arbitrary<Spec> = fc.oneof(
  fc.record({ first: fc.nat(40), last: fc.option(fc.nat(40), { nil: undefined }) }),
  fc.record({ suffix: fc.nat(40) }),
)

/** The bytes that one range names, one by one; undefined where the specification is not one. */
function bytesNamed(range: Spec, size: number): number[] | undefined {
  const all = [...Array(size).keys()]
  if ('suffix' in range) return range.suffix === 0 ? [] : all.slice(-range.suffix)
  if (range.last !== undefined && range.last < range.first) return undefined
  return all.filter(at => at >= range.first && (range.last === undefined || at <= range.last))
}

test('ranges name the bytes that a dumb model finds', () => {
  fc.assert(
    fc.property(
      fc.array(spec, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 30 }),
      (specs, size) => {
        const header = `bytes=${specs
          .map(range => ('suffix' in range ? `-${range.suffix}` : `${range.first}-${range.last ?? ''}`))
          .join(', ')}`
        const answer = readRange(header, size)
        const named = specs.map(range => bytesNamed(range, size))
        if (named.some(bytes => bytes === undefined)) return assert.equal(answer, undefined)
        const found = named.filter(bytes => bytes!.length > 0) as number[][]
        if (found.length === 0) return assert.equal(answer, 'unsatisfiable')
        const isDisjoint = new Set(found.flat()).size === found.flat().length
        if (!isDisjoint) return assert.equal(answer, undefined)
        assert.deepEqual(
          answer,
          found.map(bytes => ({ offset: bytes[0]!, length: bytes.length })),
        )
      },
    ),
    { numRuns: 3000, verbose: 1 },
  )
})

test('whatever is asked, what is sent lies inside', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.stringMatching(/^bytes=(\d{0,6}-\d{0,6},? ?){1,4}$/)),
      fc.nat(1000),
      (header, size) => {
        const spans = readRange(header, size)
        if (spans === undefined || spans === 'unsatisfiable') return
        assert.ok(spans.length > 0)
        for (const { offset, length } of spans)
          assert.ok(length >= 1 && offset >= 0 && offset + length <= size)
      },
    ),
    { numRuns: 2000, verbose: 1 },
  )
})
