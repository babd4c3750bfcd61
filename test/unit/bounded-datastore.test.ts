// The DHT's records: as many as there is room for, the oldest gone first, a record told again young again.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Key } from 'interface-datastore'
import { BoundedDatastore } from '../../dfdaemon/discovery/bounded-datastore.ts'

test('the oldest records go first', () => {
  const store = new BoundedDatastore(3)
  const keys = [1, 2, 3, 4].map(each => new Key(`/k/${each}`))
  for (const key of keys.slice(0, 3)) store.put(key, Uint8Array.of(1))
  store.put(keys[0]!, Uint8Array.of(2))
  store.put(keys[3]!, Uint8Array.of(1))
  assert.equal(store.size, 3)
  assert.deepEqual(
    keys.map(key => store.has(key)),
    [true, false, true, true],
  )
  store.delete(keys[0]!)
  assert.equal(store.size, 2)
})
