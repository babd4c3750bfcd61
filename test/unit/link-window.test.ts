// How many pieces a session asks of one parent at a time: more where they come quickly, few where they take long.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LinkWindow } from '../../dfdaemon/session/link-window.ts'

test('quick pieces open the window up to its limit, slow ones close it down to one', () => {
  const window = new LinkWindow({ piecesMax: 6 })
  assert.equal(window.pieces, 2)
  for (let piece = 0; piece < 10; piece++) window.noteLanded(20)
  assert.equal(window.pieces, 6)
  window.noteLanded(500)
  assert.equal(window.pieces, 6, 'neither quick nor slow')
  for (let piece = 0; piece < 10; piece++) window.noteLanded(2000)
  assert.equal(window.pieces, 1)
})

test('it knows how long pieces took of late', () => {
  const window = new LinkWindow({ piecesMax: 6 })
  assert.equal(window.tookMs, 0)
  window.noteLanded(100)
  assert.equal(window.tookMs, 100)
  window.noteLanded(500)
  assert.equal(window.tookMs, 200)
})

test('a limit of one is kept', () => {
  assert.equal(new LinkWindow({ piecesMax: 1 }).pieces, 1)
})
