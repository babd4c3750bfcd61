// Small collections are asked for by bytes, and not at all where V8's collector is not exposed.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { YoungGarbage } from '../../shared/young-garbage.ts'

test('one collection for every 8 MiB', () => {
  let collections = 0
  const garbage = new YoungGarbage(() => {
    collections++
  })
  for (let chunk = 0; chunk < 1024; chunk++) garbage.note(64 * 1024)
  assert.equal(collections, 8)
})

test('without an exposed collector nothing happens', () => {
  new YoungGarbage(undefined).note(1e12)
})
