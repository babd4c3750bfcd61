// The codec gives back what it was given, and refuses everything else with MESSAGE_INVALID.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encode } from 'cborg'
import fc from 'fast-check'
import { isPantalaError } from '../../shared/errors.ts'
import { decodeHostMessage, decodeSupernodeMessage, encodeMessage } from '../../shared/protocol/codec.ts'
import { HOST_FRAME_BYTES_MAX } from '../../shared/protocol/limits.ts'
import type { HostMessage, SupernodeMessage } from '../../shared/protocol/messages.ts'

const digest = `sha256:${'ab'.repeat(32)}` as const
const host = '12D3KooWAbCdEfGhJkLmNpQrStUvWxYz123456789ABCDEFGHJK'
const source = { registry: 'reg.lab:5000', repository: 'library/busybox', authorization: 'Bearer x' }
const hash = new Uint8Array(32).fill(7)
const MiB = 1024 * 1024

const fromHost: HostMessage[] = [
  {
    type: 'hello',
    name: 'a',
    addresses: ['/ip4/127.0.0.1/tcp/1'],
    zone: 'z',
    seed: false,
    uploadSlots: 16,
    version: '1',
    proof: hash,
  },
  {
    type: 'announce',
    holdings: [
      { digest, size: 3 * MiB, pieceSize: MiB },
      { digest, size: 9 * MiB, pieceSize: MiB, have: new Uint8Array(2) },
    ],
    last: true,
  },
  { type: 'register', id: 1, digest, size: 5, source, have: new Uint8Array([128]) },
  {
    type: 'report',
    digest,
    pieces: [0, 4095],
    hashes: new Uint8Array(64),
    fromSourceBytes: 2,
    parents: [{ host, bytes: 3 }],
    slotsBusy: 1,
  },
  { type: 'parent-fault', digest, host, fault: 'corrupt', piece: 3 },
  { type: 'finish', digest, outcome: 'done' },
  { type: 'evicted', digests: [digest] },
  {
    type: 'grant-failed',
    digest,
    runs: [{ first: 0, count: 4096 }],
    code: 'SOURCE_AWAY',
    status: 0,
    detail: 'x',
  },
  { type: 'digest-mismatch', digest },
  { type: 'relay', id: 2, kind: 'manifest', source, reference: 'v1', accept: ['a/b', '*/*'], known: digest },
  { type: 'heartbeat', slotsBusy: 0, storeBytes: 2 ** 40 },
  {
    type: 'register',
    id: 1,
    digest,
    size: 5,
    source,
    have: new Uint8Array([128]),
    urgent: [{ first: 0, count: 1 }],
    partial: true,
  },
  { type: 'want', digest, urgent: [{ first: 2, count: 3 }], partial: false },
]

const parents = [{ host, addresses: ['/ip4/1.2.3.4/tcp/1'], seed: true }]
const fromSupernode: SupernodeMessage[] = [
  { type: 'welcome', ticket: new Uint8Array(73), ticketMs: 1000, heartbeatMs: 5000 },
  {
    type: 'welcome',
    ticket: new Uint8Array(73),
    ticketMs: 1000,
    heartbeatMs: 5000,
    neighbours: [
      {
        host: '12D3KooWGQpW3SPjhBDqBp4hfTrCvUL7eAUkHLVsVYq1hKpGpGpG',
        addresses: ['/ip4/10.0.0.1/tcp/1'],
        seed: false,
      },
    ],
  },
  {
    type: 'registered',
    id: 1,
    digest,
    pieceSize: MiB,
    hashed: new Uint8Array([128]),
    hashes: hash,
    parents,
    content: new Uint8Array(3),
  },
  { type: 'hashes', digest, pieces: [1], hashes: hash },
  { type: 'parents', digest, parents, drop: [host] },
  { type: 'grant', digest, size: 5 * MiB, pieceSize: MiB, source, runs: [{ first: 1, count: 4 }] },
  { type: 'task-failed', digest, code: 'SOURCE_AWAY', detail: '', challenge: 'Bearer realm="x"' },
  { type: 'task-reset', digest },
  { type: 'probe' },
  { type: 'relayed', id: 9, mediaType: 'a/b', digest, length: 3, body: new Uint8Array(3), stale: false },
  { type: 'refused', id: 9, code: 'OVERLOADED', detail: 'x' },
]

for (const message of fromHost)
  test(`${message.type} survives the wire`, () =>
    assert.deepEqual(decodeHostMessage(encodeMessage(message)), message))
for (const message of fromSupernode)
  test(`${message.type} survives the wire`, () =>
    assert.deepEqual(decodeSupernodeMessage(encodeMessage(message)), message))

const refused = (run: () => unknown) =>
  assert.throws(run, (error: unknown) => isPantalaError(error, 'MESSAGE_INVALID'))

test('fields over their limits or of the wrong form are refused', () => {
  const report = fromHost[3] as unknown as Record<string, unknown>
  const register = fromHost[2] as unknown as Record<string, unknown>
  const cases: unknown[] = [
    { ...report, pieces: [4096] },
    { ...report, pieces: [-1] },
    { ...report, pieces: [0.5] },
    { ...report, hashes: new Uint8Array(32) },
    { ...report, digest: 'sha256:00' },
    { ...report, parents: new Array(65).fill({ host, bytes: 1 }) },
    { ...register, source: { ...source, authorization: 'a\r\nx-evil: 1' } },
    { ...register, source: { ...source, repository: '../x' } },
    { ...register, size: 2 ** 40 },
    { ...register, have: 'text' },
    { type: 'constructor' },
    { type: 'hello' },
    [],
    null,
    7,
  ]
  for (const wrong of cases) refused(() => decodeHostMessage(encode(wrong)))
})

test('a message of the other direction is refused', () => {
  refused(() => decodeHostMessage(encodeMessage(fromSupernode[0]!)))
  refused(() => decodeSupernodeMessage(encodeMessage(fromHost[0]!)))
})

test('a bomb of items or of nesting is refused', () => {
  refused(() => decodeHostMessage(encode(new Array(100_000).fill(0))))
  refused(() => decodeHostMessage(new Uint8Array(HOST_FRAME_BYTES_MAX).fill(0x81)))
  refused(() => decodeHostMessage(new Uint8Array(HOST_FRAME_BYTES_MAX + 1)))
})

test('unknown fields are dropped', () => {
  const later = encode({ ...fromHost[5], later: 1 })
  assert.deepEqual(decodeHostMessage(later), fromHost[5])
})

test('any bytes, and any flip in good bytes, are decoded or refused', () => {
  const decodes = [decodeHostMessage, decodeSupernodeMessage]
  const attempt = (bytes: Uint8Array) => {
    for (const decodeMessage of decodes)
      try {
        decodeMessage(bytes)
      } catch (error) {
        assert.ok(isPantalaError(error, 'MESSAGE_INVALID'), String(error))
      }
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), attempt), { numRuns: 500 })
  const all = [...fromHost, ...fromSupernode].map(encodeMessage)
  fc.assert(
    fc.property(fc.constantFrom(...all), fc.nat(), fc.nat(255), (bytes, at, value) => {
      const changed = Uint8Array.from(bytes)
      changed[at % changed.length] = value
      attempt(changed)
    }),
    { numRuns: 2000 },
  )
})
