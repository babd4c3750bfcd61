// Sharing the source's work: every piece is somebody's, nobody's twice, and what is left waiting falls to the next.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { nextShare } from '../../dfdaemon/session/source-shares.ts'
import { Bitfield } from '../../shared/bitfield.ts'

const hosts = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
const nothing: ReadonlySet<number> = new Set()

function takeAll(self: string, seekers: readonly string[], pieces: number, rankMax = 0): number[] {
  const have = new Bitfield(pieces)
  const taken: number[] = []
  for (;;) {
    const run = nextShare({
      name: 'blob',
      self,
      seekers,
      have,
      isElsewhere: () => false,
      rankMax,
      urgent: nothing,
    })
    if (run === undefined) return taken
    assert.ok(run.count >= 1 && run.count <= 16)
    for (let piece = run.first; piece < run.first + run.count; piece++) {
      assert.ok(have.add(piece), 'a piece twice')
      taken.push(piece)
    }
  }
}

test('those who know each other divide a blob among them, whatever its size', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 700 }), fc.integer({ min: 1, max: 8 }), (pieces, count) => {
      const group = hosts.slice(0, count)
      const shares = group.map(self => takeAll(self, group, pieces))
      assert.deepEqual(
        shares.flat().toSorted((a, b) => a - b),
        Array.from({ length: pieces }, (_, piece) => piece),
      )
    }),
  )
})

test('the shares of many are even enough', () => {
  const shares = hosts.map(self => takeAll(self, hosts, 1024).length)
  assert.ok(Math.max(...shares) <= 3 * (1024 / hosts.length), `${shares}`)
})

test('what the first lets wait, the next may take; at the last rank everything is everyone’s', () => {
  const first = takeAll('a', hosts, 64)
  const more = takeAll('a', hosts, 64, 1)
  assert.ok(first.every(piece => more.includes(piece)) && more.length > first.length)
  assert.equal(takeAll('a', hosts, 64, 7).length, 64)
})

test('what readers wait for comes first, what comes by another way not at all', () => {
  const input = { name: 'blob', self: 'a', seekers: [], have: new Bitfield(64), rankMax: 0 }
  const urgent = nextShare({ ...input, isElsewhere: () => false, urgent: new Set([41]) })
  assert.ok(urgent !== undefined && urgent.first <= 41 && urgent.first + urgent.count > 41)
  const rest = nextShare({ ...input, isElsewhere: piece => piece < 63, urgent: new Set([41]) })
  assert.deepEqual(rest, { first: 63, count: 1 })
  assert.equal(nextShare({ ...input, isElsewhere: () => true, urgent: nothing }), undefined)
})
