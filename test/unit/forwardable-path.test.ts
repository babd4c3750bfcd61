// Paths from outside are sent as they are, or not at all: nothing that a server on the way would read as another path.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isForwardablePath } from '../../shared/source/forwardable-path.ts'

test('paths of the API and upload tokens pass', () => {
  for (const path of [
    '/v2/',
    '/v2/team/app/manifests/v1.2..3',
    '/v2/a/blobs/uploads/x?_state=a%2Bb%2F../%2e==&digest=sha256%3Aab',
    '/artifacts-uploads/7?token="|^`',
  ])
    assert.ok(isForwardablePath(path), path)
})

test('what may be read in two ways does not', () => {
  for (const path of [
    '',
    'v2/',
    '//other.lab/v2/',
    'http://other.lab/v2/',
    '/v2/../admin',
    '/v2/./x',
    '/v2/a/..',
    '/v2/%2e%2E/admin',
    '/v2/a\\..\\b',
    '/v2/a b',
    '/v2/a#b',
    '/v2/a?b#c',
    '/v2/a\r\nHost: x',
    '/v2/ä',
    `/v2/${'x'.repeat(5000)}`,
  ])
    assert.equal(isForwardablePath(path), false, JSON.stringify(path))
})
