// Digests become paths and file names become digests again; what is none of ours is told apart.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseFinalName, parsePartialName, StoreLayout } from '../../dfdaemon/store/layout.ts'
import { digestOf } from '../../shared/digest.ts'

const layout = new StoreLayout('/data')

for (const algorithm of ['sha256', 'sha512'] as const) {
  test(`a ${algorithm} digest has its places and is known by them again`, () => {
    const digest = digestOf(Buffer.from('x'), algorithm)
    const hex = digest.slice(7)
    assert.equal(layout.finalPath(digest), join('/data/blobs', algorithm, hex.slice(0, 2), hex))
    assert.equal(layout.partialPath(digest), join('/data/partial', `${algorithm}-${hex}`))
    assert.equal(parsePartialName(`${algorithm}-${hex}`), digest)
    assert.equal(parseFinalName(algorithm, hex.slice(0, 2), hex), digest)
  })
}

test('other names are none of ours', () => {
  const hex = digestOf(Buffer.from('x')).slice(7)
  const otherFanOut = hex.startsWith('00') ? '01' : '00'
  for (const name of [
    '',
    '.',
    'notes.txt',
    `sha256-${hex.slice(1)}`,
    `sha256-${hex.toUpperCase()}`,
    `md5-${hex}`,
  ])
    assert.equal(parsePartialName(name), undefined)
  assert.equal(parseFinalName('sha256', otherFanOut, hex), undefined)
  assert.equal(parseFinalName('sha256', '', hex), undefined)
  assert.equal(parseFinalName('sha256', hex.slice(0, 2), `${hex}.tmp`), undefined)
})
