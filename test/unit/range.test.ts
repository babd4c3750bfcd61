// Range headers by RFC 9110, section 14.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readRange } from '../../dfdaemon/proxy/range.ts'

test('one range of bytes is honoured: from-to, open, suffix', () => {
  assert.deepEqual(readRange('bytes=0-0', 10), { offset: 0, length: 1 })
  assert.deepEqual(readRange('bytes=3-', 10), { offset: 3, length: 7 })
  assert.deepEqual(readRange('bytes=3-99', 10), { offset: 3, length: 7 })
  assert.deepEqual(readRange('bytes=-4', 10), { offset: 6, length: 4 })
  assert.deepEqual(readRange('bytes=-99', 10), { offset: 0, length: 10 })
  assert.deepEqual(readRange('BYTES= 1 - 2 ', 10), { offset: 1, length: 2 })
})

test('a range past the end is not satisfiable', () => {
  for (const header of ['bytes=10-', 'bytes=10-12', 'bytes=-0'])
    assert.equal(readRange(header, 10), 'unsatisfiable', header)
  assert.equal(readRange('bytes=0-', 0), 'unsatisfiable')
  assert.equal(readRange('bytes=-1', 0), 'unsatisfiable')
})

test('what is malformed, of another unit, or several ranges is answered with the whole', () => {
  assert.equal(readRange(undefined, 10), undefined)
  const headers = ['', 'bytes=', 'bytes=-', 'bytes=5-2', 'bytes=a-b', 'lines=1-2', 'bytes=0-1,4-5', 'bytes=1']
  for (const header of headers) assert.equal(readRange(header, 10), undefined, header)
})

test('whatever is asked, what is sent lies inside', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.stringMatching(/^bytes=\d{0,6}-\d{0,6}$/)),
      fc.nat(1000),
      (header, size) => {
        const range = readRange(header, size)
        if (range === undefined || range === 'unsatisfiable') return
        assert.ok(range.length >= 1 && range.offset >= 0 && range.offset + range.length <= size)
      },
    ),
    { numRuns: 2000, verbose: 1 },
  )
})
