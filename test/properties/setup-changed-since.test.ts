// Others edit the files after a set-up, line by line at random: undo either leaves all as it is, or takes out Pantala's part and nothing of theirs.
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { parse } from 'smol-toml'
import { isPantalaError } from '../../shared/errors.ts'
import { SetupRoot } from '../harness/setup-root.ts'

const directory = await mkdtemp(join(tmpdir(), 'pantala-setup-'))
after(() => rmSync(directory, { recursive: true }))

const address = '127.0.0.1:65001'

const hosts = [
  {
    runtime: 'docker',
    path: '/etc/docker/daemon.json',
    text: '{\n  "registry-mirrors": [\n    "https://m"\n  ],\n  "debug": true\n}\n',
    lines: ['  "a": 1,', '    "https://n",', '  ],', '}', '  "b": ["c"],'],
    parse: JSON.parse,
  },
  {
    runtime: 'containerd',
    path: '/etc/containerd/certs.d/_default/hosts.toml',
    text: 'server = "https://s"\n\n[host."https://m"]\n  capabilities = ["pull"]\n',
    lines: [
      '  skip_verify = true',
      '[host."https://n"]',
      '# note',
      '  [host."https://o".header]',
      'ca = "x"',
      '',
    ],
    parse,
  },
  {
    runtime: 'podman',
    path: '/etc/containers/registries.conf',
    text: '[[registry]]\nlocation = "docker.io"\n\n[[registry.mirror]]\nlocation = "m"\n',
    lines: [
      '[[registry]]',
      'location = "n"',
      '[[registry.mirror]]',
      'insecure = true',
      '# note',
      'blocked = false',
    ],
    parse,
  },
] as const

/** Insertions of lines, removals and swaps, each at a place given as a fraction of the file. */
const edits = fc.array(
  fc.record({
    kind: fc.constantFrom('insert', 'remove', 'swap'),
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    line: fc.nat(),
  }),
  { minLength: 1, maxLength: 4 },
)

function editLines(
  text: string,
  all: readonly { kind: string; at: number; line: number }[],
  lines: readonly string[],
): string {
  const now = text.split('\n')
  for (const { kind, at, line } of all) {
    const place = Math.floor(at * now.length)
    if (kind === 'insert') now.splice(place, 0, lines[line % lines.length]!)
    else if (kind === 'remove') now.splice(place, 1)
    else now.splice(place, 0, ...now.splice(place, 2).reverse())
  }
  return now.join('\n')
}

let count = 0
const outcomes = { refused: 0, takenOut: 0 }

test('what undo leaves of a changed file', () => {
  fc.assert(
    fc.property(fc.constantFrom(...hosts), edits, (host, all) => {
      const root = new SetupRoot(join(directory, `${count++}`)).write({ [host.path]: host.text })
      root.setup(host.runtime)
      const theirs = editLines(root.read(host.path), all, host.lines)
      root.write({ [host.path]: theirs })
      const changed = root.snapshot()
      try {
        root.undo(host.runtime)
        outcomes.takenOut++
        const left = root.read(host.path)
        assert.ok(
          !left.includes(address) || theirs.split(address).length > 2,
          'Pantala’s part is still there',
        )
        // Line by line, what is left is what they had, without some of Pantala's.
        assert.ok(
          isSubsequence(left.split('\n').map(bare), theirs.split('\n').map(bare)),
          'a line of theirs changed',
        )
        if (isValid(host.parse, theirs)) assert.ok(isValid(host.parse, left), 'it was valid and is no more')
      } catch (error) {
        if (!isPantalaError(error)) throw error
        outcomes.refused++
        assert.equal(error.code, 'SETUP_CHANGED_SINCE')
        assert.deepEqual(root.snapshot(), changed)
        root.undo(host.runtime, true)
        assert.equal(root.read(host.path), host.text)
      }
      rmSync(root.path, { recursive: true })
    }),
    { numRuns: 150 },
  )
  assert.ok(outcomes.refused > 5 && outcomes.takenOut > 5, JSON.stringify(outcomes))
})

/** A line without space and commas, which move as entries of JSON go. */
function bare(line: string): string {
  return line.replace(/[\s,]/g, '').replaceAll(`"http://${address}"`, '')
}

function isSubsequence(short: readonly string[], long: readonly string[]): boolean {
  let at = 0
  return short.every(line => {
    at = long.indexOf(line, at) + 1
    return at > 0
  })
}

function isValid(read: (text: string) => unknown, text: string): boolean {
  try {
    read(text)
    return true
  } catch {
    return false
  }
}
