// The places of TOML's headers and pairs are where smol-toml finds their meaning, whatever strings, comments and line ends there are.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { stringify } from 'smol-toml'
import { listStatements, parseToml, quoteToml, treeAt } from '../../cli/setup/text/toml-text.ts'

const tricky = `\uFEFF# [no.table]
title = "a # b" # c
'quoted.key' = 'x = [y]'
long = """
[not.a.table]
x = "1" \\""" still
"""
raw = '''
[neither]''''
list = [
  "a]", # ]
  { b = "}" },
]
a.b . "c.d" = 1

[ plugins . "io.x" ] # comment [x]
  x = 1
\t[[ plugins."io.x".many ]]
\ty = 2
[last]`

test('headers and pairs are found with their paths', () => {
  const found = listStatements(tricky).map(one => [one.kind, ...one.path].join(' '))
  assert.deepEqual(found, [
    'pair title',
    'pair quoted.key',
    'pair long',
    'pair raw',
    'pair list',
    'pair a b c.d',
    'table plugins io.x',
    'pair plugins io.x x',
    'array-table plugins io.x many',
    'pair plugins io.x many y',
    'table last',
  ])
})

test('the value’s place holds the value, without space and comment', () => {
  for (const text of [tricky, tricky.replaceAll('\n', '\r\n')]) {
    const pairs = listStatements(text).filter(one => one.kind === 'pair')
    const shown = pairs.map(one => text.slice(one.valueStart, one.valueEnd))
    assert.equal(shown[0], '"a # b"')
    assert.equal(shown[1], "'x = [y]'")
    assert.equal(shown[5], '1')
    assert.match(shown[4]!, /^\[[\s\S]*\]$/)
    for (const [index, pair] of pairs.slice(0, 6).entries()) {
      assert.deepEqual(parseToml(`v = ${shown[index]}`)['v'], treeAt(parseToml(text), pair.path))
    }
  }
})

test('every leaf of any document has its place', () => {
  const key = fc.string({ minLength: 1, maxLength: 6 })
  const leaf = fc.oneof(fc.string(), fc.boolean(), fc.integer(), fc.array(fc.string(), { maxLength: 3 }))
  const { table } = fc.letrec<{ table: Record<string, unknown> }>(tie => ({
    table: fc.dictionary(key, fc.oneof({ maxDepth: 3, depthSize: 'small' }, leaf, tie('table')), {
      maxKeys: 4,
    }),
  }))
  fc.assert(
    fc.property(table, document => {
      const text = stringify(document)
      const tree = parseToml(text)
      for (const one of listStatements(text)) {
        if (one.kind !== 'pair') continue
        const value = parseToml(`v = ${text.slice(one.valueStart, one.valueEnd)}`)['v']
        assert.deepEqual(value, treeAt(tree, one.path))
      }
    }),
  )
})

test('any text survives being quoted', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      const whole = text.toWellFormed()
      assert.equal(parseToml(`v = ${quoteToml(whole)}`)['v'], whole)
    }),
  )
})

test('faults are named by line and column', () => {
  assert.throws(() => parseToml('a = 1\nb = [1,\n'), { line: 3 })
  assert.throws(() => parseToml('[a]\nx = 1\n[a]\n'), { line: 3 })
})
