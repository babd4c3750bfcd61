// Image references as people write them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseReference } from '../../cli/pull/reference.ts'
import { isPantalaError } from '../../shared/errors.ts'

const digest = `sha256:${'a'.repeat(64)}`

test('registry, repository, tag and digest are told apart', () => {
  const parts = (text: string) => {
    const { registry, repository, reference } = parseReference(text)
    return [registry, repository, reference]
  }
  assert.deepEqual(parts('busybox'), [undefined, 'busybox', 'latest'])
  assert.deepEqual(parts('team/app:1.0'), [undefined, 'team/app', '1.0'])
  assert.deepEqual(parts('reg.lab:5000/team/app'), ['reg.lab:5000', 'team/app', 'latest'])
  assert.deepEqual(parts('localhost/app:x'), ['localhost', 'app', 'x'])
  assert.deepEqual(parts(`reg.lab/app@${digest}`), ['reg.lab', 'app', digest])
  assert.deepEqual(parts(`reg.lab/app:1@${digest}`), ['reg.lab', 'app', digest])
})

test('what is no reference is refused', () => {
  for (const text of [
    '',
    'A/b',
    'a//b',
    'a:b:c',
    'a:',
    'a@sha256:12',
    '-a',
    'a/../b',
    `${'a'.repeat(10)}:${'t'.repeat(200)}`,
  ]) {
    assert.throws(
      () => parseReference(text),
      error => isPantalaError(error),
      text,
    )
  }
})
