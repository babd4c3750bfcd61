// Far slower than the others: four times the median, once three are known.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { farSlowerMs } from '../../shared/far-slower.ts'

test('four times the median is the bound, of an even number the lower of the two in the middle', () => {
  assert.equal(farSlowerMs([100, 5, 10]), 40)
  assert.equal(farSlowerMs([100, 5, 10, 20]), 40)
})

test('of one or two nothing can be said', () => {
  assert.equal(farSlowerMs([]), Number.POSITIVE_INFINITY)
  assert.equal(farSlowerMs([1, 1000]), Number.POSITIVE_INFINITY)
})
