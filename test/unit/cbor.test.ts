// Messages' CBOR against a library's: both write what the other reads, and what the library refuses is refused.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode, encode } from 'cborg'
import fc from 'fast-check'
import { decodeCbor, encodeCbor, groupKeys } from '../../shared/protocol/cbor.ts'

const { tree } = fc.letrec(tie => ({
  leaf: fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.maxSafeInteger(),
    fc.integer({ min: 0, max: 70_000 }),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 300 }),
  ),
  tree: fc.oneof(
    { depthSize: 'small' },
    tie('leaf'),
    fc.array(tie('tree'), { maxLength: 30 }),
    fc.dictionary(
      fc.string({ unit: 'grapheme' }).filter(key => key !== '__proto__'),
      tie('tree'),
      { noNullPrototype: true },
    ),
  ),
}))
const plain = (bytes: Uint8Array) => Uint8Array.from(bytes)
const strict = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  rejectDuplicateMapKeys: true,
} as const

test('the library reads what is written here, and the other way round', () => {
  fc.assert(
    fc.property(tree, value => {
      assert.deepEqual(decode(plain(encodeCbor(value)), strict), value)
      assert.deepEqual(decodeCbor(encode(value), 100_000), value)
    }),
    { numRuns: 300 },
  )
})

const keys = groupKeys(['type', 'pieces', 'hashes', 'flag', 'other'])

test('hostile bytes are refused with a SyntaxError or read as the library does', () => {
  const frame = encode({ type: 'report', pieces: [1, 300, 70_000], hashes: new Uint8Array(40), flag: true })
  const wrong = fc
    .array(fc.record({ at: fc.nat(frame.length - 1), byte: fc.nat(255) }), { minLength: 1, maxLength: 4 })
    .map(changes => {
      const changed = plain(frame)
      for (const { at, byte } of changes) changed[at] = byte
      return changed
    })
  fc.assert(
    fc.property(fc.oneof(wrong, fc.uint8Array({ maxLength: 40 })), bytes => {
      let value: unknown
      try {
        value = decodeCbor(bytes, 1000, keys)
      } catch (error) {
        assert.ok(error instanceof SyntaxError, String(error))
        return
      }
      assert.deepEqual(value, decode(plain(bytes), strict))
    }),
    { numRuns: 3000 },
  )
})

test('undefined fields are left out; what messages never hold is a mistake of the programmer', () => {
  assert.deepEqual(decodeCbor(encodeCbor({ a: 1, b: undefined }), 10), { a: 1 })
  for (const wrong of [1.5, undefined, 1n, Number.NaN]) assert.throws(() => encodeCbor([wrong]), TypeError)
})

test('byte strings are copies, and stay as they are when the frame’s memory is used again', () => {
  const frame = encodeCbor({ hashes: new Uint8Array([1, 2, 3]) })
  const { hashes } = decodeCbor(frame, 10) as { hashes: Uint8Array }
  frame.fill(0)
  assert.deepEqual(hashes, new Uint8Array([1, 2, 3]))
  assert.equal(hashes.buffer.byteLength, 3)
})

test('items, depth and claimed lengths are bounded before anything is made for them', () => {
  const refused = (bytes: number[], itemsMax = 1000) =>
    assert.throws(() => decodeCbor(Uint8Array.from(bytes), itemsMax), SyntaxError)
  refused([0x84, 1, 2, 3, 4], 4)
  refused(new Array(40).fill(0x81).concat(1))
  refused([0x9b, 0, 0, 0, 1, 0, 0, 0, 0])
  refused([0x5a, 0xff, 0xff, 0xff, 0xff, 1])
  refused([0xa1, 0x69, ...Buffer.from('__proto__'), 0xa0])
  refused([0xa2, 0x61, 0x61, 1, 0x61, 0x61, 2])
  refused([0x18, 5])
  refused([1, 1])
  refused([])
})
