// Imports run one way, and frameworks stay where they belong.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readSourceFiles, root } from './source-files.ts'

const files = readSourceFiles()

/** Paths that begin with the key may import own files that begin with one of these. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  'shared/': ['shared/', 'package.json'],
  'supernode/': ['supernode/', 'shared/'],
  'dfdaemon/': ['dfdaemon/', 'shared/'],
  'cli/': ['cli/', 'dfdaemon/', 'supernode/', 'shared/'],
  'supernode/state/': ['supernode/state/', 'shared/'],
  'supernode/schedule/': ['supernode/schedule/', 'supernode/state/', 'shared/'],
  'dfdaemon/proxy/': ['dfdaemon/proxy/', 'dfdaemon/session/blobs.ts', 'dfdaemon/manifest/', 'shared/'],
  'dfdaemon/intercept/': ['dfdaemon/intercept/', 'dfdaemon/proxy/', 'shared/'],
  'dfdaemon/manifest/': [
    'dfdaemon/manifest/',
    'dfdaemon/scheduler/',
    'dfdaemon/fetch/',
    'dfdaemon/store/',
    'shared/',
  ],
  'dfdaemon/session/': [
    'dfdaemon/session/',
    'dfdaemon/scheduler/',
    'dfdaemon/fetch/',
    'dfdaemon/store/',
    'shared/',
  ],
  'dfdaemon/discovery/': ['dfdaemon/discovery/', 'shared/'],
  'dfdaemon/upload/': ['dfdaemon/upload/', 'dfdaemon/store/', 'shared/'],
  'dfdaemon/store/': ['dfdaemon/store/', 'shared/'],
  'dfdaemon/fetch/': ['dfdaemon/fetch/', 'shared/'],
  'dfdaemon/scheduler/': ['dfdaemon/scheduler/', 'dfdaemon/store/', 'shared/'],
}

test('own files import only in the direction of a pull', () => {
  const wrong: string[] = []
  for (const { path, imports } of files) {
    for (const [folder, targets] of Object.entries(allowed)) {
      if (!path.startsWith(folder)) continue
      for (const target of imports.filter(isOwn)) {
        if (!targets.some(prefix => target.startsWith(prefix))) wrong.push(`${path} imports ${target}`)
      }
    }
  }
  assert.deepEqual(wrong, [])
})

/** Packages that only some places may know. */
const placesOf: Readonly<Record<string, readonly string[]>> = {
  fastify: ['dfdaemon/admin.ts', 'supernode/edge/'],
  libp2p: ['shared/transport/'],
  '@libp2p/': [
    'shared/transport/',
    'shared/protocol/framing.ts',
    'shared/protocol/admission.ts',
    'dfdaemon/scheduler/',
    'dfdaemon/discovery/',
    'dfdaemon/fetch/',
    'dfdaemon/upload/',
    'dfdaemon/main.ts',
    'supernode/edge/',
    'supernode/main.ts',
  ],
  level: ['dfdaemon/store/', 'dfdaemon/manifest/', 'supernode/journal'],
  undici: ['shared/source/', 'dfdaemon/intercept/', 'cli/'],
  commander: ['cli/'],
}

test('frameworks are known only where they belong', () => {
  const wrong: string[] = []
  for (const { path, imports } of files) {
    if (path.startsWith('test/')) continue
    for (const [name, places] of Object.entries(placesOf)) {
      const uses = imports.some(
        target => target === name || target.startsWith(name.endsWith('/') ? name : `${name}/`),
      )
      if (uses && !places.some(place => path.startsWith(place))) wrong.push(`${path} imports ${name}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('state and schedule have no I/O, logger, timer or clock of their own', () => {
  const wrong: string[] = []
  for (const { path, text, imports } of files) {
    if (!/^supernode\/(state|schedule)\//.test(path)) continue
    if (imports.some(target => target.startsWith('node:') && target !== 'node:crypto'))
      wrong.push(`${path} imports from Node`)
    if (imports.some(target => target === 'shared/logger.ts' || target === 'shared/clock.ts'))
      wrong.push(`${path} has a logger or clock`)
    if (/\bDate\.now\b|\bperformance\.now\b|\bset(Timeout|Interval|Immediate)\b|\bMath\.random\b/.test(text))
      wrong.push(`${path} asks the time or chance`)
  }
  assert.deepEqual(wrong, [])
})

test('what is imported is installed by name, and tools for development stay out of what is shipped', () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    dependencies: object
    devDependencies: object
  }
  const wrong: string[] = []
  for (const { path, imports } of files) {
    const shipped = !path.startsWith('test/') && !path.startsWith('scripts/')
    const known = { ...dependencies, ...(shipped ? {} : devDependencies) }
    for (const target of imports.filter(isPackage)) {
      const name = target
        .split('/')
        .slice(0, target.startsWith('@') ? 2 : 1)
        .join('/')
      if (!(name in known)) wrong.push(`${path} imports ${name}`)
    }
  }
  assert.deepEqual(wrong, [])
})

function isPackage(target: string): boolean {
  return !isOwn(target) && !target.startsWith('node:') && target !== 'package.json'
}

function isOwn(target: string): boolean {
  return /^(shared|supernode|dfdaemon|cli|test|scripts)\//.test(target)
}
