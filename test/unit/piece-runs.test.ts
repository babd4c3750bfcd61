// Runs of missing pieces.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { missingRuns } from '../../dfdaemon/session/piece-runs.ts'
import { Bitfield } from '../../shared/bitfield.ts'

function held(...pieces: number[]): Bitfield {
  const have = new Bitfield(10)
  for (const piece of pieces) have.add(piece)
  return have
}

test('missing pieces come as the longest runs', () => {
  assert.deepEqual(
    [...missingRuns(held(0, 3, 4, 9), { first: 0, count: 10 })],
    [
      { first: 1, count: 2 },
      { first: 5, count: 4 },
    ],
  )
})

test('only pieces inside the run count', () => {
  assert.deepEqual(
    [...missingRuns(held(3), { first: 2, count: 3 })],
    [
      { first: 2, count: 1 },
      { first: 4, count: 1 },
    ],
  )
})

test('all is missing where nothing is known, nothing where all is held', () => {
  assert.deepEqual([...missingRuns(undefined, { first: 4, count: 2 })], [{ first: 4, count: 2 }])
  assert.deepEqual([...missingRuns(Bitfield.full(10), { first: 0, count: 10 })], [])
})
