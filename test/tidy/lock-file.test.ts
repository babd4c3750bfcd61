// The lock file is one that `npm ci` takes anywhere: no download addresses, and every package that any platform needs.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { root } from './source-files.ts'

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const text = readFileSync(join(root, 'package-lock.json'), 'utf8')
const { packages } = JSON.parse(text) as { packages: Record<string, LockedPackage> }

test('it holds no download addresses', () => {
  assert.doesNotMatch(text, /"resolved":\s*"https?:/)
})

test('what a package needs, on any platform, is in it', () => {
  const missing: string[] = []
  for (const [place, { dependencies, optionalDependencies }] of Object.entries(packages)) {
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (!isFound(place, name)) missing.push(`${place} needs ${name}`)
    }
  }
  assert.deepEqual(missing, [])
})

test('it is the lock of this package.json', () => {
  const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const locked = packages[''] as Record<string, unknown>
  for (const kind of ['version', 'dependencies', 'devDependencies']) {
    assert.deepEqual(locked[kind], own[kind], kind)
  }
})

/** Looks as Node does: in the package's own node_modules, then in those above it. */
function isFound(place: string, name: string): boolean {
  for (let above = place; ; above = above.slice(0, above.lastIndexOf('/node_modules/'))) {
    if (`${above === '' ? '' : `${above}/`}node_modules/${name}` in packages) return true
    if (!above.includes('/node_modules/')) return `node_modules/${name}` in packages
  }
}
