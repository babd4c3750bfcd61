// The piece parser against any bytes and any cuts: it never throws anything but MESSAGE_INVALID, never hands out more than a frame may
// hold, and reads the same whatever the cuts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isPantalaError } from '../../shared/errors.ts'
import { bodyBytesMax, encodeFrame, FRAME, type FrameType } from '../../shared/protocol/piece-frames.ts'
import { type FrameSink, PieceParser, type Speaker } from '../../shared/protocol/piece-parser.ts'

class Recorder implements FrameSink {
  readonly seen: string[] = []
  #part: Uint8Array | undefined

  onFrame(type: FrameType, code: number, slot: number, id: number, body: Uint8Array): void {
    assert.ok(body.byteLength <= bodyBytesMax[type]!)
    this.seen.push([type, code, slot, id, Buffer.from(body).toString('hex')].join())
  }

  onPartStart(_id: number, length: number): Uint8Array | undefined {
    this.#part = new Uint8Array(length)
    return this.#part
  }

  onPartEnd(id: number, length: number): void {
    this.seen.push([id, length, Buffer.from(this.#part!).toString('hex')].join())
  }
}

const speaker = fc.constantFrom<Speaker>('child', 'parent')

function read(from: Speaker, bytes: Uint8Array, cuts: readonly number[]): { seen: string[]; error: unknown } {
  const recorder = new Recorder()
  const parser = new PieceParser(from, recorder)
  const ends = [...new Set([...cuts.map(cut => cut % (bytes.byteLength + 1)), bytes.byteLength])].sort(
    (a, b) => a - b,
  )
  try {
    let at = 0
    for (const end of ends) {
      parser.push(bytes, at, end)
      at = end
    }
    return { seen: recorder.seen, error: undefined }
  } catch (error) {
    return { seen: recorder.seen, error }
  }
}

test('any bytes', () => {
  fc.assert(
    fc.property(
      speaker,
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.nat(300), { maxLength: 8 }),
      (from, bytes, cuts) => {
        const { seen, error } = read(from, bytes, cuts)
        assert.ok(error === undefined || isPantalaError(error, 'MESSAGE_INVALID'))
        assert.deepEqual(read(from, bytes, []).seen, seen)
      },
    ),
    { numRuns: 500 },
  )
})

test('sound frames in any cuts', () => {
  const frame = fc
    .tuple(
      fc.constantFrom(...Object.values(FRAME).filter(type => type >= 16)),
      fc.nat(255),
      fc.nat(65535),
      fc.nat(0xffffffff),
      fc.uint8Array({ maxLength: 60 }),
    )
    .map(([type, code, slot, id, body]) =>
      encodeFrame(type, code, slot, id, body.subarray(0, bodyBytesMax[type])),
    )
  fc.assert(
    fc.property(fc.array(frame), fc.array(fc.nat(2000), { maxLength: 20 }), (frames, cuts) => {
      const bytes = Buffer.concat(frames)
      const { seen, error } = read('parent', bytes, cuts)
      assert.equal(error, undefined)
      assert.equal(seen.length, frames.length)
      assert.deepEqual(read('parent', bytes, []).seen, seen)
    }),
    { numRuns: 300 },
  )
})
