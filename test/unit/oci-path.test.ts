// Paths of the OCI distribution API: names, references, and which registry is meant.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readOciPath } from '../../dfdaemon/proxy/oci-path.ts'
import { isPantalaError } from '../../shared/errors.ts'

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`

function read(path: string, ns?: string, preset = 'docker.io', isFixed = false) {
  const { registry, repository, target } = readOciPath(path, ns, { registry: preset, isFixed })
  return [registry, repository, target.kind]
}

test('a face that is fixed stands for its registry, whatever a request names', () => {
  assert.deepEqual(read('/v2/other.lab/app/manifests/v1', 'reg.lab:5000', 'mine.lab', true), [
    'mine.lab',
    'other.lab/app',
    'manifest',
  ])
  assert.deepEqual(read('/v2/', 'reg.lab:5000', 'mine.lab', true), ['mine.lab', '', 'root'])
})

test('the registry is told by ns, else by the first part of the name, else it is the default', () => {
  assert.deepEqual(read('/v2/team/app/manifests/v1', 'reg.lab:5000'), [
    'reg.lab:5000',
    'team/app',
    'manifest',
  ])
  assert.deepEqual(read('/v2/reg.lab/team/app/manifests/v1'), ['reg.lab', 'team/app', 'manifest'])
  assert.deepEqual(read(`/v2/localhost/app/blobs/${digest}`), ['localhost', 'app', 'blob'])
  assert.deepEqual(read('/v2/reg.lab:5000/app/tags/list'), ['reg.lab:5000', 'app', 'tags'])
  assert.deepEqual(read('/v2/team/app/tags/list', undefined, 'reg.lab'), ['reg.lab', 'team/app', 'tags'])
  assert.deepEqual(read(`/v2/a/b/c/d/referrers/${digest}`), ['docker.io', 'a/b/c/d', 'referrers'])
  assert.deepEqual(read('/v2/', 'reg.lab'), ['reg.lab', '', 'root'])
})

test('a name of one part is Docker Hub’s library there, and nothing else elsewhere', () => {
  assert.deepEqual(read('/v2/busybox/manifests/latest'), ['docker.io', 'library/busybox', 'manifest'])
  assert.deepEqual(read('/v2/docker.io/busybox/manifests/latest'), [
    'docker.io',
    'library/busybox',
    'manifest',
  ])
  assert.deepEqual(read('/v2/library/busybox/manifests/latest', 'docker.io'), [
    'docker.io',
    'library/busybox',
    'manifest',
  ])
  assert.deepEqual(read('/v2/app/manifests/latest', 'reg.lab'), ['reg.lab', 'app', 'manifest'])
})

test('parts that look like paths of the API may be parts of a name', () => {
  assert.deepEqual(read('/v2/team/manifests/app/manifests/v1'), [
    'docker.io',
    'team/manifests/app',
    'manifest',
  ])
  assert.deepEqual(read(`/v2/blobs/blobs/blobs/${digest}`), ['docker.io', 'blobs/blobs', 'blob'])
})

test('what is malformed is refused with its own code', () => {
  const cases: [string, string, string?][] = [
    ['/v2/UPPER/case/manifests/v1', 'NAME_INVALID'],
    ['/v2/a/../b/manifests/v1', 'NAME_INVALID'],
    [`/v2/${'a'.repeat(300)}/b/manifests/v1`, 'NAME_INVALID'],
    ['/v2/%zz/a/manifests/v1', 'NAME_INVALID'],
    ['/v2/a/b/manifests/.hidden', 'REFERENCE_INVALID'],
    [`/v2/a/b/manifests/${'t'.repeat(129)}`, 'REFERENCE_INVALID'],
    ['/v2/a/b/manifests/sha256:12', 'DIGEST_INVALID'],
    ['/v2/a/b/blobs/latest', 'DIGEST_INVALID'],
    ['/v2/a/b/blobs/sha256:XYZ', 'DIGEST_INVALID'],
    ['/v2/_catalog', 'PATH_UNKNOWN'],
    ['/v1/_ping', 'PATH_UNKNOWN'],
    ['/v2/a/b/manifests/v1', 'UPSTREAM_UNKNOWN', 'not a host'],
    ['/v2/a/b/manifests/v1', 'UPSTREAM_UNKNOWN', 'user:pass@host'],
  ]
  for (const [path, code, ns] of cases) {
    assert.throws(
      () => read(path, ns),
      error => isPantalaError(error) && error.code === code,
      `${path} ${ns ?? ''}`,
    )
  }
})

test('any path is either understood or refused by code, and what is understood is safe to put in a URL', () => {
  const part = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.constantFrom('manifests', 'blobs', 'tags', 'list', '..', '%2e%2e', digest, 'v1'),
  )
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 8 }),
      fc.option(fc.string({ maxLength: 20 }), { nil: undefined }),
      (parts, ns) => {
        try {
          const asked = readOciPath(`/v2/${parts.join('/')}`, ns, { registry: 'reg.lab', isFixed: false })
          assert.match(asked.repository, /^[a-z0-9._/-]*$/)
          assert.doesNotMatch(`/${asked.repository}/`, /\/\.{1,2}\//)
          assert.match(asked.registry, /^[a-z0-9.:[\]-]+$/)
        } catch (error) {
          assert.ok(isPantalaError(error), String(error))
        }
      },
    ),
    { numRuns: 2000, verbose: 1 },
  )
})
