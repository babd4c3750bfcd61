// The candidate chooser against a deliberately dumb second version that looks at every host and every piece.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Bitfield } from '../../shared/bitfield.ts'
import { chooseParents } from '../../supernode/schedule/candidates.ts'
import { ClusterState } from '../../supernode/state/cluster-state.ts'
import { anySource, digest, hashesOf, MiB } from '../scripts/cluster-script.ts'

interface Drawn {
  readonly seed: boolean
  readonly slots: number
  readonly busy: number
  readonly have: readonly boolean[]
  readonly full: boolean
  readonly granted: boolean
  readonly linked: boolean
  readonly faulted: boolean
  readonly accusers: number
}

const PIECES = 10
const drawn: fc.Arbitrary<Drawn> = fc.record({
  seed: fc.boolean(),
  slots: fc.integer({ min: 0, max: 4 }),
  busy: fc.integer({ min: 0, max: 4 }),
  have: fc.array(fc.boolean(), { minLength: PIECES, maxLength: PIECES }),
  full: fc.boolean(),
  granted: fc.boolean(),
  linked: fc.boolean(),
  faulted: fc.boolean(),
  accusers: fc.integer({ min: 0, max: 4 }),
})
const bits = (have: readonly boolean[]) => {
  const field = new Bitfield(PIECES)
  have.forEach((held, piece) => {
    if (held) field.add(piece)
  })
  return field.bytes
}

test('the chooser gives what a look at everything would', () => {
  fc.assert(
    fc.property(
      fc.array(drawn, { maxLength: 12 }),
      fc.array(fc.boolean(), { minLength: PIECES, maxLength: PIECES }),
      fc.boolean(),
      (others, childHas, overCap) => {
        const state = new ClusterState()
        const join = (host: string, seed: boolean, uploadSlots: number) =>
          state.apply({
            type: 'host-joined',
            host,
            name: host,
            addresses: [],
            seed,
            uploadSlots,
            version: '0',
            at: 0,
          })
        join('child', false, 4)
        state.apply({ type: 'task-known', digest, size: PIECES * MiB, pieceSize: MiB, at: 0 })
        const all = Array.from({ length: PIECES }, (_, piece) => piece)
        state.apply({ type: 'hashes-known', digest, pieces: all, hashes: hashesOf(all) })
        const source = anySource
        state.apply({ type: 'registered', host: 'child', digest, source, have: bits(childHas), at: 0 })
        others.forEach((other, index) => {
          const host = `h${index}`
          join(host, other.seed, other.slots)
          if (other.full) state.apply({ type: 'held', host, digest })
          else if (other.have.includes(true))
            state.apply({ type: 'held', host, digest, have: bits(other.have) })
          if (other.granted && !other.full)
            state.apply({ type: 'granted', host, digest, source, runs: [{ first: 0, count: 1 }], at: 0 })
          if (other.linked || other.faulted)
            state.apply({ type: 'linked', child: 'child', digest, parents: [host], at: 0 })
          if (other.faulted)
            state.apply({
              type: 'parent-faulted',
              child: 'child',
              digest,
              parent: host,
              fault: 'silent',
              at: 0,
            })
          state.apply({ type: 'host-seen', host, slotsBusy: other.busy, at: 0 })
          for (let accuser = 0; accuser < other.accusers; accuser++)
            state.corruptReports.add(host, `accuser${accuser}`, 0)
        })
        const child = state.tasks.get(digest)!.peers.get('child')!

        const holders = [{ full: false, granted: false, have: childHas }, ...others].filter(
          ({ full, granted, have }) => full || granted || have.includes(true),
        )
        const dumb = others.flatMap((other, index) => {
          const useful = other.full
            ? childHas.includes(false)
            : other.granted || other.have.some((held, piece) => held && !childHas[piece])
          const load = Math.max(other.busy, other.linked && !other.faulted ? 1 : 0)
          // None of these has a child in the task, so those of few holders have room for one.
          const hasRoom = load < other.slots * (overCap ? 2 : 1) || holders.length < 8
          const free = other.slots > 0 && hasRoom
          const allowed = !other.linked && !other.faulted && other.accusers < 3
          return useful && free && allowed && childHas.includes(false) ? [`h${index}`] : []
        })
        const choice = { now: 1, random: () => 0.5, count: 100, overCap }
        const chosen = chooseParents(state, child, choice)
        assert.deepEqual(chosen.map(host => host.id).sort(), dumb.sort())
        const costs = chosen.map(host => host.load / host.uploadSlots + (host.seed ? 0.1 : 0))
        assert.deepEqual(
          costs,
          costs.toSorted((a, b) => a - b),
          'the least busy come first',
        )
        assert.deepEqual(chooseParents(state, child, { ...choice, count: 2 }), chosen.slice(0, 2))
      },
    ),
    { numRuns: 400 },
  )
})
