// The data directory: made when absent, refused clearly when it can't be.
import assert from 'node:assert/strict'
import { mkdtemp, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isPantalaError } from '../../shared/errors.ts'
import { makeDataDir } from '../../shared/make-directory.ts'

test('it is made with all above it, for its owner only; once more does no harm', async () => {
  const directory = join(await mkdtemp(join(tmpdir(), 'pantala-data-')), 'a/b/c')
  await makeDataDir(directory)
  await makeDataDir(directory)
  assert.equal((await stat(directory)).mode & 0o777, 0o700)
})

test('a file in its place or above it is named', async () => {
  const file = join(await mkdtemp(join(tmpdir(), 'pantala-data-')), 'file')
  await writeFile(file, '')
  for (const directory of [file, join(file, 'below')]) {
    await assert.rejects(
      makeDataDir(directory),
      error => isPantalaError(error, 'DATA_DIR_UNUSABLE') && error.message.includes(directory),
    )
  }
})

test('a file system that takes no directories is refused, and soon', {
  timeout: 5000,
  skip: process.platform !== 'linux' && 'only Linux has /proc',
}, async () => {
  await assert.rejects(makeDataDir('/proc/pantala/data'), error => isPantalaError(error, 'DATA_DIR_UNUSABLE'))
})
