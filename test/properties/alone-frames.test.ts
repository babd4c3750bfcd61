// Frames among hosts without a supernode: what was written is read, and no body, however made, yields more than its bounds.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PIECE_HASH_BYTES } from '../../shared/piece.ts'
import {
  decodeAlone,
  decodeHashes,
  decodeOthers,
  encodeAlone,
  encodeHashes,
  encodeOthers,
  OTHERS_MAX,
} from '../../shared/protocol/alone-frames.ts'
import {
  ALONE_BYTES_MAX,
  FRAME_HEADER_BYTES,
  HASHES_PIECES_MAX,
  OTHERS_BYTES_MAX,
} from '../../shared/protocol/piece-frames.ts'

const bodyOf = (frame: Uint8Array): Uint8Array => frame.subarray(FRAME_HEADER_BYTES)
const base58 = [...'123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz']
const hostId = fc.string({ unit: fc.constantFrom(...base58), minLength: 46, maxLength: 52 })
const address = fc
  .tuple(fc.ipV4(), fc.integer({ min: 1, max: 65535 }))
  .map(([ip, port]) => `/ip4/${ip}/tcp/${port}`)

test('addresses, others and hashes are read as they were written', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record(
          { host: hostId, addresses: fc.array(address, { maxLength: 8 }), seed: fc.constant(false) },
          { noNullPrototype: true },
        ),
        {
          maxLength: OTHERS_MAX,
        },
      ),
      fc.array(fc.integer({ min: 0, max: 0xffffffff }), { maxLength: 40 }),
      (others, pieces) => {
        assert.deepEqual(decodeOthers(bodyOf(encodeOthers(3, others))), others)
        const first = others[0]?.addresses ?? []
        assert.deepEqual(decodeAlone(bodyOf(encodeAlone(3, first))), first)
        const hashes = new Uint8Array(pieces.length * PIECE_HASH_BYTES).map((_, at) => at * 7)
        assert.deepEqual(decodeHashes(bodyOf(encodeHashes(3, { pieces, hashes }))), { pieces, hashes })
      },
    ),
  )
})

test('whatever a peer sends is read within bounds', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4000 }), fc.string({ maxLength: 4000 }), (bytes, text) => {
      for (const body of [bytes, Buffer.from(text)]) {
        for (const one of decodeAlone(body)) assert.match(one, /^\/[\x21-\x7e]{1,255}$/)
        const others = decodeOthers(body)
        assert.ok(others.length <= OTHERS_MAX)
        for (const { host, addresses } of others) {
          assert.match(host, /^[1-9A-HJ-NP-Za-km-z]{20,100}$/)
          assert.ok(addresses.length <= 8)
        }
        const told = decodeHashes(body)
        assert.equal(told === undefined, body.byteLength % (4 + PIECE_HASH_BYTES) !== 0)
      }
    }),
  )
})

test('what is written never outgrows its frame', () => {
  const long = Array.from({ length: 8 }, (_, index) => `/dns4/${'x'.repeat(240)}${index}/tcp/1`)
  const others = Array.from({ length: 100 }, () => ({ host: 'Q'.repeat(60), addresses: long, seed: false }))
  assert.ok(bodyOf(encodeAlone(0, [...long, ...long])).byteLength <= ALONE_BYTES_MAX)
  assert.ok(bodyOf(encodeOthers(0, others)).byteLength <= OTHERS_BYTES_MAX)
  assert.ok(decodeOthers(bodyOf(encodeOthers(0, others))).length >= OTHERS_MAX - 1)
  assert.equal(HASHES_PIECES_MAX * (4 + PIECE_HASH_BYTES), 18_432)
})
