// The frames of the piece protocol: what is written is read, however it is cut; what may not come is refused.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPantalaError } from '../../shared/errors.ts'
import {
  decodeNumbers,
  decodeSubscribe,
  encodeFrame,
  encodeHaveMore,
  encodeRequest,
  encodeSubscribe,
  FRAME,
  FRAME_HEADER_BYTES,
  type FrameType,
  PART_BYTES_MAX,
  writeHeader,
} from '../../shared/protocol/piece-frames.ts'
import { type FrameSink, PieceParser } from '../../shared/protocol/piece-parser.ts'

const digest = `sha256:${'ab'.repeat(32)}` as const
const geometry = { size: 5_000_000_000, pieceSize: 4 * 1024 * 1024 }

class NotingSink implements FrameSink {
  readonly seen: string[] = []
  readonly into = new Uint8Array(64)
  #at = 0

  onFrame(type: FrameType, code: number, slot: number, id: number, body: Uint8Array): void {
    this.seen.push(`${type}/${code}/${slot}/${id}/${Buffer.from(body).toString('hex')}`)
  }

  onPartStart(id: number, length: number): Uint8Array | undefined {
    this.seen.push(`start ${id} ${length}`)
    const into = this.into.subarray(this.#at, this.#at + length)
    this.#at += length
    return id === 9 ? undefined : into
  }

  onPartEnd(id: number, length: number): void {
    this.seen.push(`end ${id} ${length}`)
  }
}

const fromParent = Buffer.concat([
  encodeFrame(FRAME.have, 0, 3, 0, Uint8Array.of(0xf0, 1)),
  encodeFrame(FRAME.piece, 0, 0, 7, Buffer.from('hello ')),
  encodeFrame(FRAME.waiting, 0, 0, 0),
  encodeFrame(FRAME.piece, 0, 0, 7, Buffer.from('world')),
  encodeHaveMore(3, [1, 70000]),
  encodeFrame(FRAME.piece, 0, 0, 9, Buffer.from('past')),
  encodeFrame(FRAME.refuse, 4, 0, 4_000_000_000),
  encodeFrame(FRAME.gone, 9, 65535, 0),
])

test('frames cut at every byte read the same', () => {
  const whole = new NotingSink()
  new PieceParser('parent', whole).push(fromParent, 0, fromParent.byteLength)
  assert.equal(Buffer.from(whole.into.subarray(0, 11)).toString(), 'hello world')
  assert.ok(whole.into.subarray(11).every(byte => byte === 0))
  assert.equal(whole.seen.length, 11)
  assert.ok(whole.seen.includes('19/4/0/4000000000/'))
  for (let cut = 0; cut <= fromParent.byteLength; cut++) {
    const sink = new NotingSink()
    const parser = new PieceParser('parent', sink)
    const framed = Buffer.concat([Buffer.from('xx'), fromParent.subarray(0, cut), Buffer.from('yy')])
    parser.push(framed, 2, 2 + cut)
    framed.fill(0)
    parser.push(fromParent, cut, fromParent.byteLength)
    assert.deepEqual(sink.seen, whole.seen)
    assert.deepEqual(sink.into, whole.into)
  }
})

test('a discarded part runs past, what follows is read', () => {
  const sink = new NotingSink()
  const parser = new PieceParser('parent', sink)
  const bytes = encodeFrame(FRAME.piece, 0, 0, 7, Buffer.from('abcdef'))
  parser.push(bytes, 0, FRAME_HEADER_BYTES + 2)
  parser.discard(8)
  parser.discard(7)
  parser.push(bytes, FRAME_HEADER_BYTES + 2, bytes.byteLength)
  parser.push(encodeFrame(FRAME.gone, 9, 1, 0), 0, FRAME_HEADER_BYTES)
  assert.equal(Buffer.from(sink.into.subarray(0, 6)).toString(), 'ab\0\0\0\0')
  assert.deepEqual(sink.seen, ['start 7 6', 'end 7 6', '20/9/1/0/'])
})

test('bodies of subscribe, request and have-more', () => {
  const subscribe = encodeSubscribe(5, digest, geometry)
  assert.deepEqual(decodeSubscribe(subscribe.subarray(FRAME_HEADER_BYTES)), { digest, geometry })
  const long = `sha512:${'cd'.repeat(64)}` as const
  assert.deepEqual(decodeSubscribe(encodeSubscribe(5, long, geometry).subarray(FRAME_HEADER_BYTES)), {
    digest: long,
    geometry,
  })
  assert.deepEqual(decodeNumbers(encodeRequest(1, 2, 4_000_000_000).subarray(FRAME_HEADER_BYTES)), [4e9])
  assert.equal(decodeNumbers(Uint8Array.of(1, 2, 3)), undefined)
})

test('a malformed subscribe is none', () => {
  const good = encodeSubscribe(5, digest, geometry).subarray(FRAME_HEADER_BYTES)
  const unsound = [
    { size: -1, pieceSize: geometry.pieceSize },
    { size: 2 ** 50, pieceSize: geometry.pieceSize },
    { size: 1, pieceSize: 1000 },
    { size: 1, pieceSize: 2 ** 30 },
  ].map(other =>
    other.size < 0
      ? good.map((byte, at) => (at >= 33 && at < 41 ? 0xff : byte))
      : encodeSubscribe(5, digest, other).subarray(FRAME_HEADER_BYTES),
  )
  for (const body of [
    new Uint8Array(0),
    good.subarray(1),
    good.map((b, at) => (at === 0 ? 3 : b)),
    ...unsound,
  ])
    assert.equal(decodeSubscribe(body), undefined)
})

test('frames over their limit, unknown, or from the wrong end are refused at the header', () => {
  const header = (type: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(FRAME_HEADER_BYTES)
    writeHeader(bytes, 0, type as FrameType, 0, 0, 1, length)
    return bytes
  }
  const cases: Array<['child' | 'parent', Uint8Array]> = [
    ['parent', header(FRAME.piece, PART_BYTES_MAX + 1)],
    ['parent', header(FRAME.gone, 1)],
    ['parent', header(FRAME.haveMore, 0xffffffff)],
    ['parent', header(FRAME.request, 4)],
    ['parent', header(255, 0)],
    ['child', header(FRAME.piece, 4)],
    ['child', header(FRAME.hello, 1025)],
    ['child', header(FRAME.request, 5)],
    ['child', header(0, 0)],
  ]
  for (const [speaker, bytes] of cases) {
    const sink = new NotingSink()
    assert.throws(
      () => new PieceParser(speaker, sink).push(bytes, 0, bytes.byteLength),
      error => isPantalaError(error, 'MESSAGE_INVALID'),
    )
    assert.deepEqual(sink.seen, [])
  }
})
