// Task keys: what is anyone's has its digest alone, what came under credentials is one registry's; the same on disk and on the wire.
import assert from 'node:assert/strict'
import { basename } from 'node:path'
import { test } from 'node:test'
import { parseFinalName, parsePartialName, StoreLayout } from '../../dfdaemon/store/layout.ts'
import { type Digest, isDigest } from '../../shared/digest.ts'
import { decodeHostMessage, encodeMessage } from '../../shared/protocol/codec.ts'
import { decodeSubscribe, encodeSubscribe, FRAME_HEADER_BYTES } from '../../shared/protocol/piece-frames.ts'
import { contentOf, isTaskKey, privateKey, realmOf } from '../../shared/task-key.ts'

const digests: readonly Digest[] = [`sha256:${'ab'.repeat(32)}`, `sha512:${'cd'.repeat(64)}`]
const geometry = { size: 3_000_000, pieceSize: 1024 * 1024 }

test('a key holds its digest, and differs by registry and not by the registry’s spelling', () => {
  for (const digest of digests) {
    const key = privateKey(digest, 'reg.lab:5000')
    assert.deepEqual([contentOf(key), contentOf(digest), realmOf(digest)], [digest, digest, undefined])
    assert(isTaskKey(key) && isTaskKey(digest) && !isDigest(key))
    assert.notEqual(key, privateKey(digest, 'reg.lab'))
    assert.equal(privateKey(digest, 'registry-1.docker.io'), privateKey(digest, 'Docker.io'))
  }
  for (const wrong of ['@', `${digests[0]}@`, `${digests[0]}@reg.lab`, `x@${'0'.repeat(24)}`])
    assert(!isTaskKey(wrong), wrong)
})

test('frames, messages and file names give keys back as they were', () => {
  const layout = new StoreLayout('/data')
  for (const digest of digests)
    for (const key of [digest, privateKey(digest, 'reg.lab')]) {
      const frame = encodeSubscribe(1, key, geometry).subarray(FRAME_HEADER_BYTES)
      assert.deepEqual(decodeSubscribe(frame), { digest: key, geometry })
      assert.equal(decodeSubscribe(frame.subarray(0, -1)), undefined)
      const evicted = { type: 'evicted', digests: [key] } as const
      assert.deepEqual(decodeHostMessage(encodeMessage(evicted)), evicted)
      const name = basename(layout.finalPath(key))
      assert.equal(parseFinalName(key.slice(0, 6), name.slice(0, 2), name), key)
      assert.equal(parsePartialName(basename(layout.partialPath(key))), key)
    }
})
