// multipart/byteranges by RFC 9110, section 14.6: what a plain reader of the format finds in it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { frameRanges } from '../../dfdaemon/proxy/multipart-ranges.ts'
import { readMultipart } from '../harness/read-multipart.ts'

test('each part says its type and place, and the length told is the length sent', () => {
  const body = Buffer.from('0123456789')
  const size = body.byteLength
  fc.assert(
    fc.property(fc.subarray([...Array(size).keys()], { minLength: 2 }), offsets => {
      const spans = offsets.map(offset => ({ offset, length: 1 }))
      const framed = frameRanges(spans, size, 'text/plain')
      const sent = framed.parts.map(
        ({ head, span }) => head + body.toString('latin1', span.offset, span.offset + span.length),
      )
      const whole = Buffer.from(sent.join('') + framed.end, 'latin1')
      assert.equal(whole.byteLength, framed.contentLength)
      const parts = readMultipart(framed.contentType, whole)
      assert.deepEqual(
        parts.map(part => [part.headers['content-type'], part.headers['content-range'], String(part.body)]),
        offsets.map(offset => ['text/plain', `bytes ${offset}-${offset}/10`, String(offset)]),
      )
    }),
  )
})

test('a boundary is never used twice', () => {
  const spans = [
    { offset: 0, length: 1 },
    { offset: 2, length: 1 },
  ]
  const types = Array.from({ length: 50 }, () => frameRanges(spans, 10, 'text/plain').contentType)
  assert.equal(new Set(types).size, 50)
})
