// Holders found through the DHT, over real nodes that know only the one before them; strangers get no answer.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Libp2p } from '@libp2p/interface'
import { KAD_PROTOCOL, KadDirectory } from '../../dfdaemon/discovery/kad-directory.ts'
import type { KadComponents } from '../../dfdaemon/discovery/kad-guard.ts'
import { systemClock } from '../../shared/clock.ts'
import type { Candidate } from '../../shared/protocol/messages.ts'
import { generateIdentity } from '../../shared/transport/identity.ts'
import { createNode } from '../../shared/transport/node.ts'
import { candidateOf, silentLogger } from '../harness/piece-peers.ts'
import { eventually } from '../harness/swarm.ts'

const digest = `sha256:${'5a'.repeat(32)}` as const

interface Member {
  readonly node: Libp2p
  readonly directory: KadDirectory
  readonly candidate: Candidate
  readonly greeted: string[]
}

async function startMember(t: TestContext, admits: (host: string) => boolean = () => true): Promise<Member> {
  const node = await createNode<{ inside: { components: KadComponents } }>({
    privateKey: await generateIdentity(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    services: { inside: (components: KadComponents) => ({ components }) },
  })
  const greeted: string[] = []
  const directory = new KadDirectory({
    libp2p: node.services.inside.components,
    clock: systemClock,
    logger: silentLogger,
    admits: async host => admits(host),
    greet: async host => void greeted.push(host),
  })
  t.after(async () => {
    await directory.close()
    await node.stop()
  })
  const candidate = candidateOf(node)
  return { node, directory, candidate, greeted }
}

async function holdersSeenBy({ directory }: Member): Promise<string[]> {
  const found: string[] = []
  const take = (candidates: readonly Candidate[]) => void found.push(...candidates.map(({ host }) => host))
  await directory.find(digest, take, AbortSignal.timeout(5_000))
  return found
}

test('who knows only some others finds a holder that it never heard of, with its addresses', async t => {
  const members = await Promise.all(Array.from({ length: 8 }, () => startMember(t)))
  // Neighbours as the supernode tells them: each knows some, and the holder and the one who seeks do not know each other.
  for (const [place, member] of members.entries()) {
    const known = [1, 2, 6, 7].map(step => members[(place + step) % 8]!.candidate)
    member.directory.open(known)
  }
  const [holder, last] = [members[0]!, members[4]!]
  holder.directory.provide(digest)
  const found: Candidate[] = []
  await eventually('the holder is found', async () => {
    await last.directory.find(digest, each => void found.push(...each), AbortSignal.timeout(5_000))
    return found.some(({ host }) => host === holder.candidate.host)
  })
  const seen = found.find(({ host }) => host === holder.candidate.host)!
  assert.ok(
    seen.addresses.some(address => holder.candidate.addresses[0]!.startsWith(address)),
    `${seen.addresses}`,
  )
  assert.ok(last.greeted.length > 0, 'hosts are greeted before they are asked')
})

test('a host that is not admitted gets no answer', async t => {
  const keeper = await startMember(t, () => false)
  const stranger = await startMember(t)
  keeper.directory.open([])
  keeper.directory.provide(digest)
  stranger.directory.open([keeper.candidate])
  assert.deepEqual(await holdersSeenBy(stranger), [])
})

test('closed, it takes no streams and finds nothing; opened again, it does', async t => {
  const [one, two] = [await startMember(t), await startMember(t)]
  one.directory.open([])
  await eventually('it serves', () => one.node.getProtocols().includes(KAD_PROTOCOL))
  await one.directory.close()
  assert.ok(!one.node.getProtocols().includes(KAD_PROTOCOL))
  assert.deepEqual(await holdersSeenBy(one), [])
  one.directory.provide(digest)
  one.directory.open([two.candidate])
  two.directory.open([one.candidate])
  await eventually('the other finds it', async () => (await holdersSeenBy(two)).includes(one.candidate.host))
})
