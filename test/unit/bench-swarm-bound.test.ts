// The bound that the network lab compares with: what no scheme can beat.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { layersOf, leastMs, parseAmount, type Scenario } from '../bench/swarm/scenarios.ts'

const plain: Scenario = {
  name: 'plain',
  hosts: 8,
  rate: parseAmount('200mbit'),
  imageBytes: 250_000_000,
  layers: 4,
  start: 'together',
}

test('with equal links it is the image over one link, however many hosts there are', () => {
  for (const hosts of [1, 8, 1000]) assert.equal(leastMs({ ...plain, hosts }), 10_000)
  assert.equal(leastMs(plain, 25_000_000), 1000)
})

test('a thin link between zones, and uplinks that cannot carry all copies in that time, take longer', () => {
  assert.equal(leastMs({ ...plain, thinRate: parseAmount('50mbit') }), 40_000)
  assert.equal(leastMs({ ...plain, thinRate: parseAmount('1gbit') }), 10_000)
  // 8 copies of 2 Gbit over the seed's 200 and 8 times 100 Mbit/s.
  assert.equal(leastMs({ ...plain, upRate: parseAmount('100mbit') }), 16_000)
})

test('a warm-up has the layers of the image, smaller where they are too much together', () => {
  assert.deepEqual(layersOf(plain), [62_500_000, 62_500_000, 62_500_000, 62_500_000])
  assert.deepEqual(layersOf(plain, 1_000_000_000), layersOf(plain))
  assert.deepEqual(layersOf(plain, 100_000_000), [25_000_000, 25_000_000, 25_000_000, 25_000_000])
})
