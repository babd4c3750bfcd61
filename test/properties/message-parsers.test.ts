// Messages between hosts and supernode with bytes changed, cut out and put in: refused as MESSAGE_INVALID, or meant as they are read.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encode } from 'cborg'
import fc from 'fast-check'
import { readCandidates } from '../../dfdaemon/discovery/read-candidates.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { decodeHostMessage, decodeSupernodeMessage, encodeMessage } from '../../shared/protocol/codec.ts'
import type { HostMessage, SupernodeMessage } from '../../shared/protocol/messages.ts'
import { fuzz, nearlyBytes } from '../harness/fuzz.ts'

const digest = `sha256:${'ab'.repeat(32)}` as const
const host = '12D3KooWAbCdEfGhJkLmNpQrStUvWxYz123456789ABCDEFGHJK'
const source = { registry: 'reg.lab:5000', repository: 'a/b', authorization: 'Bearer x' }
const candidate = { host, addresses: ['/ip4/1.2.3.4/tcp/1'], seed: true }
const samples: readonly (HostMessage | SupernodeMessage)[] = [
  {
    type: 'hello',
    name: 'a',
    addresses: ['/ip4/127.0.0.1/tcp/1'],
    seed: false,
    uploadSlots: 16,
    version: '1',
  },
  {
    type: 'announce',
    holdings: [{ digest, size: 3, pieceSize: 2 ** 20, have: new Uint8Array(1) }],
    last: true,
  },
  { type: 'register', id: 1, digest, size: 5, source, urgent: [{ first: 0, count: 1 }], partial: true },
  {
    type: 'report',
    digest,
    pieces: [0, 1],
    hashes: new Uint8Array(64),
    fromSourceBytes: 2,
    parents: [{ host, bytes: 3 }],
    slotsBusy: 1,
  },
  { type: 'parent-fault', digest, host, fault: 'unreachable' },
  { type: 'relay', id: 2, kind: 'manifest', source, reference: 'v1', accept: ['a/b'], known: digest },
  { type: 'welcome', ticket: new Uint8Array(73), ticketMs: 1000, heartbeatMs: 5000, neighbours: [candidate] },
  {
    type: 'registered',
    id: 1,
    digest,
    pieceSize: 2 ** 20,
    hashed: new Uint8Array([128]),
    hashes: new Uint8Array(32),
    parents: [candidate],
  },
  { type: 'grant', digest, size: 5, pieceSize: 2 ** 20, source, runs: [{ first: 0, count: 1 }] },
  { type: 'relayed', id: 9, mediaType: 'a/b', digest, length: 3, body: new Uint8Array(3), stale: false },
]
const decoders = [decodeHostMessage, decodeSupernodeMessage]

function readEach(frame: Uint8Array): void {
  for (const decode of decoders) {
    let message: HostMessage | SupernodeMessage
    try {
      message = decode(frame)
    } catch (error) {
      assert.ok(isPantalaError(error, 'MESSAGE_INVALID'), String(error))
      continue
    }
    assert.deepEqual(decode(encodeMessage(message)), message)
    if ('addresses' in message)
      for (const address of message.addresses) assert.match(address, /^\/[\x21-\x7e]+$/)
    if ('source' in message && message.source !== undefined) {
      assert.doesNotMatch(JSON.stringify(message.source), /\\r|\\n|\\u0000/)
      assert.doesNotMatch(message.source.repository, /\.\.|\/\/|^\//)
    }
  }
}

test('frames with bytes changed', t =>
  fuzz(t, fc.property(nearlyBytes(samples.map(encodeMessage)), readEach), 5000))

test('sound CBOR with fields that say something else', t => {
  const strange = fc.oneof(
    fc.anything({ maxDepth: 2, withBigInt: false, withMap: false, withSet: false, withSparseArray: false }),
    fc.constantFrom<unknown>(
      -1,
      0.5,
      2 ** 53,
      NaN,
      '',
      '..',
      '\r\n',
      [],
      {},
      null,
      new Uint8Array(0),
      Array(5000).fill(0),
    ),
  )
  const changed = fc
    .tuple(fc.constantFrom(...samples), fc.nat(), strange, fc.boolean())
    .map(([sample, place, value, isNew]) => {
      const keys = Object.keys(sample)
      return { ...sample, [isNew ? 'more' : keys[place % keys.length]!]: value }
    })
  fuzz(
    t,
    fc.property(changed, message => {
      let frame: Uint8Array
      try {
        frame = encode(message)
      } catch {
        return
      }
      readEach(frame)
    }),
    3000,
  )
})

test('hosts out of a file that was tampered with', t => {
  const entry = fc.oneof(
    fc.anything(),
    fc.record({
      host: fc.oneof(fc.constant(host), fc.string()),
      addresses: fc.oneof(fc.array(fc.string()), fc.anything()),
    }),
  )
  fuzz(
    t,
    fc.property(fc.oneof(fc.anything(), fc.array(entry, { maxLength: 80 })), value => {
      const read = readCandidates(value)
      assert.ok(read.length <= 32)
      for (const one of read) {
        assert.match(one.host, /^[1-9A-HJ-NP-Za-km-z]{20,100}$/)
        assert.ok(
          one.addresses.length <= 8 && one.addresses.every(address => /^\/[\x21-\x7e]+$/.test(address)),
        )
      }
    }),
    500,
  )
})
