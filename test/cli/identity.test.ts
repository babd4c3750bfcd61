// `pantala identity` tells a service's PeerId before it ever ran, and the service then has it.
import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadPeerId } from '../../shared/transport/identity.ts'
import { runPantala } from './run-pantala.ts'

test('identity makes the key once and prints its PeerId each time', async t => {
  const parent = await mkdtemp(join(tmpdir(), 'pantala-identity-'))
  t.after(() => rm(parent, { recursive: true, force: true }))
  const dataDir = join(parent, 'supernode')
  const first = await runPantala(['identity', 'supernode', '--data-dir', dataDir])
  assert.equal(first.code, 0, first.err)
  assert.match(first.out, /^12D3Koo[1-9A-HJ-NP-Za-km-z]+\n$/)
  assert.equal((await stat(join(dataDir, 'identity.key'))).mode & 0o777, 0o600)
  assert.deepEqual(await runPantala(['identity', 'supernode', '--data-dir', dataDir]), first)
  assert.equal(first.out, `${await loadPeerId(join(dataDir, 'identity.key'))}\n`)
})

test('identity of no service, or with a wrong option, is wrong use', async () => {
  assert.equal((await runPantala(['identity', 'nobody'])).code, 2)
  const { code, err } = await runPantala(['identity', 'dfdaemon', '--no-such', '1'])
  assert.equal(code, 2)
  assert.match(err, /--no-such: unknown option/)
})
