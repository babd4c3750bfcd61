// The credentials that hosts register with are kept once for each host, and no longer than it pulls.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Digest } from '../../shared/digest.ts'
import { ClusterScript, digest } from '../scripts/cluster-script.ts'

const other: Digest = `sha256:${'cd'.repeat(32)}`
/** Equal in content, each time another object, as messages are decoded. */
const source = () => ({ registry: 'reg.lab', repository: 'a/b', authorization: 'Bearer token' })

test('the layers of one image share the source they were registered with', () => {
  const story = new ClusterScript()
  story.join('h1')
  story.register('h1', { source: source() })
  story.register('h1', { source: source(), of: other })
  const peers = [digest, other].map(of => story.state.tasks.get(of)!.peers.get('h1')!)
  assert.deepEqual(peers[0]!.source, source())
  assert.equal(peers[0]!.source, peers[1]!.source)
})

test('another token is not taken for the same, and none is kept after the last pull', () => {
  const story = new ClusterScript()
  story.join('h1')
  story.register('h1', { source: source() })
  story.register('h1', { source: { ...source(), authorization: 'Bearer other' }, of: other })
  const host = story.state.hosts.get('h1')!
  assert.equal(story.state.tasks.get(digest)!.peers.get('h1')!.source!.authorization, 'Bearer token')
  assert.equal(story.state.tasks.get(other)!.peers.get('h1')!.source!.authorization, 'Bearer other')
  assert.equal(host.wanting, 2)
  for (const one of [digest, other]) story.say('h1', { type: 'finish', digest: one, outcome: 'left' })
  assert.equal(host.wanting, 0)
  const fresh = source()
  assert.equal(host.shareSource(fresh), fresh, 'the former object was let go')
})
