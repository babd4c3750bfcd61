// `pantala ca`: makes the authority once, shows it, and says what is wrong.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { runPantala } from './run-pantala.ts'

test('init makes it once, show finds it, --force replaces it', async t => {
  const dataDir = await makeTestDirectory(t, 'ca')
  const run = (...words: string[]) => runPantala(['ca', ...words, '--data-dir', dataDir, '--json'])
  const missing = await run('show')
  assert.equal(missing.code, 2)
  assert.match(missing.err, /pantala ca init makes it/)
  const made = await run('init', '--intercept.hosts', 'reg.lab,docker.io,reg.lab:5000')
  assert.equal(made.code, 0, made.err)
  const facts = JSON.parse(made.out)
  assert.deepEqual(facts.hosts, ['reg.lab', 'registry-1.docker.io'])
  assert.equal(facts.certificate, join(dataDir, 'intercept-ca', 'ca.crt'))
  assert.equal((await run('init', '--intercept.hosts', 'other.lab')).out, made.out)
  assert.equal((await run('show')).out, made.out)
  const renewed = await run('init', '--force', '--intercept.hosts', 'other.lab')
  assert.notEqual(JSON.parse(renewed.out).fingerprint, facts.fingerprint)
})

test('hosts that are none are named, and none at all is wrong use', async t => {
  const dataDir = await makeTestDirectory(t, 'ca')
  const empty = await runPantala(['ca', 'init', '--data-dir', dataDir])
  assert.equal(empty.code, 2)
  assert.match(empty.err, /intercept\.hosts is empty/)
  const wrong = await runPantala(['ca', 'init', '--data-dir', dataDir, '--intercept.hosts', 'reg.lab/team'])
  assert.equal(wrong.code, 2)
  assert.match(wrong.err, /"reg\.lab\/team" is no registry/)
})
