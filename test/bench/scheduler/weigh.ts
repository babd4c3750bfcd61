// Weighs the supernode's state: bytes for each host, each peer (a host's part in a running pull) and each blob held whole. Run with --expose-gc; prints JSON.
import { Bitfield } from '../../../shared/bitfield.ts'
import { pieceCount, pieceSizeFor } from '../../../shared/piece.ts'
import { seededRandom } from '../random.ts'
import { layerMiB } from './plans.ts'
import { SchedulerProbe } from './probe.ts'
import { addressOf, peerIdOf } from './swarm-model.ts'

export interface WeightFigures {
  readonly hosts: number
  readonly peers: number
  /** A host that has joined and does nothing. */
  readonly bytesPerHost: number
  /** A host's running pull of one layer, half of it there, parents given; all of it, and without its bit field's bits. */
  readonly bytesPerPeer: number
  readonly bytesPerPeerBeyondBits: number
  /** A layer that a host holds whole. */
  readonly bytesPerHeldBlob: number
}

const MiB = 2 ** 20

export function weigh(hosts: number): WeightFigures {
  const probe = new SchedulerProbe({ random: seededRandom(1), expireMs: Number.POSITIVE_INFINITY })
  const ids = Array.from({ length: hosts }, (_, index) => peerIdOf(index))
  const layers = layerMiB.map((mebibytes, index) => ({
    digest: `sha256:${index.toString(16).padStart(64, '0')}` as const,
    size: mebibytes * MiB,
    pieces: pieceCount({ size: mebibytes * MiB, pieceSize: pieceSizeFor(mebibytes * MiB) }),
  }))
  const settled = (): number => {
    probe.flush(1)
    probe.takeSaid()
    return usedBytes()
  }
  const empty = settled()
  ids.forEach((id, index) => {
    const addresses = [addressOf(index, id)]
    const facts = { name: `host-${index}`, zone: 'a', seed: index === 0, uploadSlots: 16, version: '0' }
    probe.join(id, { type: 'hello', ...facts, addresses }, 0)
  })
  const joined = settled()
  for (const { digest, size, pieces } of layers) {
    const half = new Bitfield(pieces)
    for (let piece = 0; piece < pieces; piece += 2) half.add(piece)
    for (const id of ids) {
      // A token of its own for each host, as registries give them.
      const authorization = `Bearer ${id.padEnd(900, 'x')}`
      const source = { registry: 'registry.example', repository: 'team/application', authorization }
      probe.say(id, { type: 'register', id: 1, digest, size, source, have: half.bytes }, 1)
      probe.takeSaid()
    }
  }
  const pulling = settled()
  for (const { digest } of layers)
    for (const id of ids) {
      probe.say(id, { type: 'finish', digest, outcome: 'done' }, 2)
      probe.takeSaid()
    }
  const holding = settled()
  const peers = hosts * layers.length
  const bits = layers.reduce((sum, { pieces }) => sum + Math.ceil(pieces / 8), 0) * hosts
  return {
    hosts,
    peers,
    bytesPerHost: (joined - empty) / hosts,
    bytesPerPeer: (pulling - joined) / peers,
    bytesPerPeerBeyondBits: (pulling - joined - bits) / peers,
    bytesPerHeldBlob: (holding - joined) / peers,
  }
}

function usedBytes(): number {
  for (let turn = 0; turn < 3; turn++) globalThis.gc!()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(weigh(Number(process.argv[2])))}\n`)
