// The verifier: the digest of the whole from pieces in any order.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { BlobVerifier } from '../../dfdaemon/session/blob-verifier.ts'
import { Bitfield } from '../../shared/bitfield.ts'
import { digestOf } from '../../shared/digest.ts'
import { pieceCount, pieceLength, pieceOffset } from '../../shared/piece.ts'

const MiB = 1024 * 1024
const geometry = { size: 3 * MiB + 17, pieceSize: MiB }

function setUp(blob: Buffer, digest = digestOf(blob)) {
  const have = new Bitfield(pieceCount(geometry))
  let readBytes = 0
  const verifier = new BlobVerifier(
    {
      readable: piece => have.has(piece),
      bring: async piece => {
        const start = pieceOffset(geometry, piece)
        const bytes = Buffer.from(blob.subarray(start, start + pieceLength(geometry, piece)))
        readBytes += bytes.byteLength
        return { isKept: false, bytes, giveBack() {} }
      },
    },
    { digest, geometry },
  )
  const land = (piece: number): void => {
    const start = pieceOffset(geometry, piece)
    verifier.offer(piece, blob.subarray(start, start + pieceLength(geometry, piece)))
    have.add(piece)
  }
  return { verifier, land, readBytes: () => readBytes }
}

test('pieces in order are hashed from memory alone', async () => {
  const blob = randomBytes(geometry.size)
  const { verifier, land, readBytes } = setUp(blob)
  for (let piece = 0; piece < 4; piece++) land(piece)
  assert.equal(await verifier.matches(), true)
  assert.equal(readBytes(), 0)
})

test('pieces out of order are read back once the gap is closed', async () => {
  const blob = randomBytes(geometry.size)
  const { verifier, land, readBytes } = setUp(blob)
  land(2)
  land(3)
  land(0)
  await verifier.catchUp()
  assert.equal(verifier.hashedPieces, 1)
  land(1)
  await Promise.all([verifier.catchUp(), verifier.catchUp()])
  assert.equal(verifier.hashedPieces, 4)
  assert.equal(await verifier.matches(), true)
  assert.equal(readBytes(), MiB + 17)
})

test('one wrong byte anywhere is found', async () => {
  const blob = randomBytes(geometry.size)
  const digest = digestOf(blob)
  blob[2 * MiB]! ^= 1
  const { verifier, land } = setUp(blob, digest)
  for (const piece of [3, 1, 0, 2]) land(piece)
  assert.equal(await verifier.matches(), false)
})
