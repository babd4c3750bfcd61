// The image starts Pantala as its launcher does, and its last stage needs nothing but what the chaos tests' base has.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { takeLastStage } from '../chaos/images.ts'

const root = join(import.meta.dirname, '../..')
const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')

test('the image’s flags of Node are those of the launcher', () => {
  const launcher = readFileSync(join(root, 'cli/pantala'), 'utf8')
  const flags = /^exec "\$node" (.*) "\$entry"/m.exec(launcher)![1]!.split(' ')
  const entry = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(dockerfile)![1]!) as string[]
  assert.deepEqual(entry, ['node', ...flags, '/opt/pantala/pantala.mjs'])
})

test('the image’s environment is that of the launcher', () => {
  const launcher = readFileSync(join(root, 'cli/pantala'), 'utf8')
  const defaults = [...launcher.matchAll(/\b((?:MALLOC|UV)_\w+)="\$\{\1:-(\d+)\}"/g)]
  assert.ok(defaults.length >= 3)
  const environment = /^ENV (.*)$/m.exec(dockerfile)![1]!.split(' ')
  assert.deepEqual(
    environment,
    defaults.map(([, name, value]) => `${name}=${value}`),
  )
})

test('the health check is a program that exits with 0 or 1', () => {
  const command = JSON.parse(/^HEALTHCHECK .* CMD (\[.*\])$/m.exec(dockerfile)![1]!) as string[]
  assert.equal(command[0], 'node')
  // Only its syntax: what it asks for does not run here.
  assert.doesNotThrow(() => new Function(command[2]!))
})

test('the last stage runs nothing, is no root, and takes from the build what the tests can lay beside it', () => {
  const stage = takeLastStage(dockerfile)
  assert.match(stage, /^FROM pantala-base\n/)
  assert.match(stage, /^COPY dist \/opt\/pantala$/m)
  assert.match(stage, /^COPY --chown=65532:65532 data \/var\/lib\/pantala$/m)
  assert.match(stage, /^USER 65532:65532$/m)
  assert.doesNotMatch(stage, /^RUN |--from=/m)
})
