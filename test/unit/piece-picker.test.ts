// The picker: what readers wait for first, then rarest first, within each parent's room.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PickQuestion, pickPieces } from '../../dfdaemon/session/piece-picker.ts'
import { Bitfield } from '../../shared/bitfield.ts'

function offer(pieces: number[], room: number) {
  const have = new Bitfield(8)
  for (const piece of pieces) have.add(piece)
  return { have, room }
}

function ask(question: Partial<PickQuestion>) {
  return pickPieces({
    pieces: 8,
    offers: [],
    wanted: () => true,
    urgent: [],
    picksMax: 100,
    random: () => 0.5,
    ...question,
  })
}

test('the rarest pieces are asked first', () => {
  const picks = ask({ offers: [offer([0, 1, 2], 1), offer([0, 1], 1)] })
  assert.deepEqual(picks[0], { piece: 2, offer: 0 })
  assert.equal(picks.length, 2)
  assert.equal(picks[1]!.offer, 1)
})

test('what a reader waits for comes before what is rare', () => {
  const picks = ask({ offers: [offer([0, 1, 2], 1), offer([0, 1], 0)], urgent: [7, 1] })
  assert.deepEqual(picks, [{ piece: 1, offer: 0 }])
})

test('what nobody waits for leaves the spare room free, what a reader waits for takes it', () => {
  const offers = [{ ...offer([0, 1, 2, 3, 4, 5], 4), spare: 2 }]
  assert.equal(ask({ offers }).length, 2)
  assert.deepEqual(
    ask({ offers, urgent: [5, 4, 3] }).map(pick => pick.piece),
    [5, 4, 3],
  )
  assert.equal(ask({ offers, urgent: [5] }).length, 2)
})

test('no piece is asked twice, and nobody beyond their room', () => {
  const picks = ask({ offers: [offer([0, 1, 2, 3], 2), offer([0, 1, 2, 3], 1)], urgent: [0, 0] })
  assert.equal(picks.length, 3)
  assert.equal(new Set(picks.map(pick => pick.piece)).size, 3)
  assert.equal(picks.filter(pick => pick.offer === 0).length, 2)
})

test('the parent with the most room is preferred', () => {
  const [pick] = ask({ offers: [offer([4], 1), offer([4], 5)] })
  assert.deepEqual(pick, { piece: 4, offer: 1 })
})

test('ties are broken at random, so that hosts that start together ask for different pieces', () => {
  const offers = [offer([0, 1, 2, 3, 4, 5, 6, 7], 1)]
  const firsts = new Set<number>()
  for (let seed = 1; seed <= 40; seed++) {
    let state = seed * 7_654_321
    const random = () => {
      state = (state * 48271) % 2147483647
      return state / 2147483647
    }
    firsts.add(ask({ offers, random })[0]!.piece)
  }
  assert.ok(firsts.size >= 5, `only ${firsts.size} different first pieces`)
})

test('nothing is asked without buffers, room or offers', () => {
  assert.deepEqual(ask({ offers: [offer([0], 5)], picksMax: 0 }), [])
  assert.deepEqual(ask({ offers: [offer([0], 0)] }), [])
  assert.deepEqual(ask({ offers: [offer([0], 5)], wanted: () => false }), [])
  assert.deepEqual(ask({}), [])
})

test('a seed is asked for what no other parent with room has', () => {
  const seed = { ...offer([3, 4], 5), isSeed: true }
  const picks = ask({ offers: [seed, offer([4], 1)] })
  assert.deepEqual(
    picks.toSorted((a, b) => a.piece - b.piece),
    [
      { piece: 3, offer: 0 },
      { piece: 4, offer: 1 },
    ],
  )
  assert.deepEqual(ask({ offers: [seed, offer([4], 0)], wanted: piece => piece === 4 }), [
    { piece: 4, offer: 0 },
  ])
})

test('a parent that is far slower than the others is asked last, after the seed', () => {
  const slow = { ...offer([4, 5], 5), isSlow: true }
  const seed = { ...offer([4], 1), isSeed: true }
  const picks = ask({ offers: [slow, seed] }).toSorted((a, b) => a.piece - b.piece)
  assert.deepEqual(picks, [
    { piece: 4, offer: 1 },
    { piece: 5, offer: 0 },
  ])
})

test('what only a seed offers is asked of it beyond its window, what others offer too is not', () => {
  const offers = [{ ...offer([0, 1, 2, 3], 0), soleRoom: 2, isSeed: true }, offer([0], 0)]
  const picks = ask({ offers })
  assert.equal(picks.length, 2)
  for (const { piece, offer } of picks) {
    assert.equal(offer, 0)
    assert.notEqual(piece, 0)
  }
})

test('where nobody trades, pieces are asked for from the first on, after what a reader waits for', () => {
  const all = [0, 1, 2, 3, 4, 5, 6, 7]
  const picks = ask({
    offers: [offer(all, 3), offer(all, 2)],
    urgent: [6],
    wanted: piece => piece !== 1,
    inOrder: true,
  })
  assert.deepEqual(
    picks.map(({ piece }) => piece),
    [6, 0, 2, 3, 4],
  )
  assert.equal(picks.filter(({ offer }) => offer === 0).length, 3)
})
