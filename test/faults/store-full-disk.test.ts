// A file system that is really full, for the index as for the blobs. Needs Linux and the right to mount in a namespace of its own.
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const child = fileURLToPath(new URL('../harness/filling-process.ts', import.meta.url))
const mounting = 'mount -t tmpfs -o size=24m tmpfs "$0"'

function mayMount(): boolean {
  try {
    execFileSync('unshare', ['-Urm', 'sh', '-c', mounting, tmpdir()], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

test('a full disk is STORE_FULL, reads go on, a removal frees it, and with room again nothing is lost', {
  skip: mayMount() ? false : 'no right to mount',
  timeout: 60_000,
}, async () => {
  const root = await mkdtemp(join(tmpdir(), 'pantala-full-'))
  try {
    const script = `${mounting} && exec "$1" --disable-warning=ExperimentalWarning "$2" "$0"`
    const args = ['-Urm', 'sh', '-c', script, root, process.execPath, child]
    const { stdout } = await promisify(execFile)('unshare', args)
    const { codes, readable, freed, complete } = JSON.parse(stdout)
    assert.deepEqual(codes, ['STORE_FULL'])
    assert.equal(readable, 10)
    assert(freed >= 490_000, `${freed} bytes were freed`)
    assert.equal(complete, 9 + 60 + 1)
  } finally {
    await rmdir(root)
  }
})
