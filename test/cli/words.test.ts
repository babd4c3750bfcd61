// The command's words, help and exit codes, and what it says when it is used wrongly.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { runPantala } from './run-pantala.ts'

const directory = mkdtempSync(join(tmpdir(), 'pantala-cli-'))

test('--version prints the package’s version', async () => {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'))
  assert.deepEqual(await runPantala(['--version']), { code: 0, out: `${version}\n`, err: '' })
})

test('--help names every command, and each command has help of its own', async () => {
  const { code, out } = await runPantala(['--help'])
  assert.equal(code, 0)
  for (const word of [
    'demo',
    'supernode',
    'dfdaemon',
    'pull',
    'setup',
    'status',
    'config',
    'identity',
    'ca',
  ]) {
    assert.match(out, new RegExp(`^  ${word}\\b`, 'm'))
  }
  const help = await runPantala(['dfdaemon', '--help'])
  assert.equal(help.code, 0)
  assert.match(help.out, /--store\.quota-bytes/)
})

test('wrong use is exit code 2 and one clear message', async () => {
  for (const [words, message] of [
    [['fly'], /unknown command 'fly'/],
    [['dfdaemon', '--no-such'], /--no-such: unknown option/],
    [['demo', '--hosts', '0'], /whole number from 1 to 64/],
    [['pull', 'UPPER/Case'], /invalid repository name/],
    [['pull', 'a/b:1', '--dfdaemon', 'nowhere'], /must be an http/],
    [['pull'], /missing required argument/],
  ] as const) {
    const { code, err } = await runPantala(words)
    assert.equal(code, 2, `${words.join(' ')}: ${err}`)
    assert.match(err, message)
  }
})

test('a faulty configuration stops the start with exit code 2, every fault named, nothing started', async () => {
  const file = join(directory, 'bad.yaml')
  writeFileSync(file, 'stor: 1\nlog: { level: loud }\n')
  const { code, err, out } = await runPantala([
    'dfdaemon',
    '--config',
    file,
    '--upload.slots',
    '0',
    '--upload.slot',
    '3',
    'x',
  ])
  assert.equal(code, 2)
  assert.equal(out, '')
  assert.match(err, /5 faults/)
  assert.match(err, /log\.level/)
  assert.match(err, /--upload\.slots: must be 1 or more/)
  assert.match(err, /--upload\.slot: unknown option, did you mean --upload\.slots\?/)
  assert.match(err, /x: takes no arguments/)
  assert.doesNotMatch(err, /\n\s+at /)
})

test('bad YAML is exit code 2', async () => {
  const file = join(directory, 'broken.yaml')
  writeFileSync(file, 'a: [')
  const { code, err } = await runPantala(['supernode', '--config', file])
  assert.equal(code, 2)
  assert.match(err, /broken\.yaml/)
})

test('config shows values, origins and docs, and hides secrets', async () => {
  const { code, out } = await runPantala(['config', 'dfdaemon', '--json', '--store.quota-bytes', '1GiB'], {
    PANTALA_DFDAEMON_CLUSTER_SECRET: 'hunter2',
  })
  assert.equal(code, 0)
  assert.doesNotMatch(out, /hunter2/)
  const options = JSON.parse(out) as { key: string; value: unknown; origin: string }[]
  const byKey = new Map(options.map(option => [option.key, option]))
  assert.deepEqual(
    [byKey.get('store.quotaBytes')!.value, byKey.get('store.quotaBytes')!.origin],
    [2 ** 30, 'flag --store.quota-bytes'],
  )
  assert.deepEqual(byKey.get('cluster.secret')!.value, '(set)')
  const text = await runPantala(['config', 'supernode'])
  assert.match(text.out, /host\.expireMs = 15000 {3}\(default\)/)
})

test('status says plainly that no supernode answers', async () => {
  const { code, err } = await runPantala(['status', '--supernode', 'http://127.0.0.1:9'])
  assert.equal(code, 1)
  assert.match(err, /the supernode does not answer/)
})
