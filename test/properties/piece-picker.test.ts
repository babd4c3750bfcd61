// The picker against a deliberately dumb second version, over random swarms.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Pick, pickPieces } from '../../dfdaemon/session/piece-picker.ts'
import { Bitfield } from '../../shared/bitfield.ts'

const PIECES = 12

const swarm = fc.record({
  offers: fc.array(
    fc.record({ pieces: fc.uniqueArray(fc.nat(PIECES - 1)), room: fc.integer({ min: -1, max: 4 }) }),
    { maxLength: 5 },
  ),
  unwanted: fc.uniqueArray(fc.nat(PIECES - 1)),
  urgent: fc.array(fc.nat(PIECES + 3), { maxLength: 3 }),
  picksMax: fc.integer({ min: 0, max: 10 }),
})

/** How many pieces the rarest-first rule could ask for at all, by trying every wanted piece at every parent. */
function dumbCount(
  offers: { pieces: number[]; room: number }[],
  unwanted: number[],
  picksMax: number,
): number {
  const wanted = [...Array(PIECES).keys()].filter(piece => !unwanted.includes(piece))
  const offered = wanted.filter(piece => offers.some(offer => offer.room > 0 && offer.pieces.includes(piece)))
  const room = offers.reduce((sum, offer) => sum + Math.max(0, offer.room), 0)
  return Math.min(offered.length, room, picksMax)
}

test('picks are wanted, offered, within room, never twice; and nothing that could be asked is left when there is plenty', () => {
  fc.assert(
    fc.property(swarm, fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })), (s, stream) => {
      const offers = s.offers.map(({ pieces, room }) => {
        const have = new Bitfield(PIECES)
        for (const piece of pieces) have.add(piece)
        return { have, room }
      })
      const numbers = stream[Symbol.iterator]()
      const picks: Pick[] = pickPieces({
        pieces: PIECES,
        offers,
        wanted: piece => piece < PIECES && !s.unwanted.includes(piece),
        urgent: s.urgent.filter(piece => piece < PIECES),
        picksMax: s.picksMax,
        random: () => numbers.next().value,
      })
      assert.ok(picks.length <= dumbCount(s.offers, s.unwanted, s.picksMax))
      assert.equal(new Set(picks.map(pick => pick.piece)).size, picks.length)
      for (const { piece, offer } of picks) {
        assert.ok(!s.unwanted.includes(piece))
        assert.ok(s.offers[offer]!.pieces.includes(piece))
      }
      s.offers.forEach((offer, index) => {
        assert.ok(picks.filter(pick => pick.offer === index).length <= Math.max(0, offer.room))
      })
      if (picks.length < s.picksMax) {
        const asked = new Set(picks.map(pick => pick.piece))
        s.offers.forEach((offer, index) => {
          const used = picks.filter(pick => pick.offer === index).length
          if (used >= offer.room) return
          for (const piece of offer.pieces)
            assert.ok(asked.has(piece) || s.unwanted.includes(piece), `piece ${piece} was left`)
        })
      }
    }),
    { verbose: 1 },
  )
})
