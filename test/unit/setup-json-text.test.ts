// JSON with places: the reader takes and refuses what JSON.parse does, names line and column, and edits leave the rest alone.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  appendMember,
  insertFirstItem,
  JsonFault,
  type JsonNode,
  jsonValue,
  readJson,
  removeEntry,
} from '../../cli/setup/text/json-text.ts'
import { applyEdits } from '../../cli/setup/text/text-edits.ts'

test('the reader means what JSON.parse means, however it is spaced', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, 2, '\t'), (value, space) => {
      const text = JSON.stringify(value, undefined, space)
      assert.deepEqual(JSON.parse(JSON.stringify(jsonValue(readJson(text)))), JSON.parse(text))
    }),
  )
})

test('the reader refuses what JSON.parse refuses', () => {
  const pieces = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"a"',
    '"',
    '1',
    '01',
    '-',
    'true',
    'nul',
    ' ',
    '\n',
    '\\u12',
    '//x',
  ]
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 8 }), parts => {
      const text = parts.join('')
      assert.equal(
        isTaken(() => readJson(text)),
        isTaken(() => JSON.parse(text)),
        text,
      )
    }),
    { numRuns: 2000 },
  )
})

test('faults are named by line and column', () => {
  for (const [text, line, column, message] of [
    ['{\n  "a": 1,\n  // no\n}', 3, 3, /name in quotes/],
    ['{\n  "a": 1,\n}', 3, 1, /nothing follows the comma/],
    ['{"a" 1}', 1, 6, /colon/],
    ['{"a": 1', 1, 8, /comma or }/],
    ["{'a': 1}", 1, 2, /name in quotes/],
    ['{"a": "x\n"}', 1, 7, /string/],
    ['[1 2]', 1, 4, /comma or ]/],
    ['', 1, 1, /too early/],
    ['{} {}', 1, 4, /after the end/],
  ] as const) {
    assert.throws(
      () => readJson(text),
      (error: unknown) => {
        assert.ok(error instanceof JsonFault)
        assert.deepEqual([error.line, error.column], [line, column], text)
        assert.match(error.message, message)
        return true
      },
    )
  }
})

test('what is nested without end is refused, not a crash', () => {
  assert.throws(() => readJson('['.repeat(100_000)), /nested deeper/)
})

test('an item comes first, spaced as the others are', () => {
  for (const [before, after] of [
    ['[]', '["new"]'],
    ['[ ]', '["new"]'],
    ['["old"]', '["new","old"]'],
    ['["a","b"]', '["new","a","b"]'],
    ['[ "a", "b" ]', '[ "new", "a", "b" ]'],
    ['[\n    "a"\n  ]', '[\n    "new",\n    "a"\n  ]'],
    ['[\r\n\t"a",\r\n\t"b"\r\n]', '[\r\n\t"new",\r\n\t"a",\r\n\t"b"\r\n]'],
  ] as const) {
    const edit = insertFirstItem(before, readJson(before) as JsonNode & { kind: 'array' }, '"new"')
    assert.equal(applyEdits(before, [edit]), after)
  }
})

test('a member comes last, spaced as the one before it', () => {
  for (const [before, after] of [
    ['{}', '{\n  "k": 1\n}'],
    ['{"a":2}', '{"a":2,"k":1}'],
    ['{"a": 2}', '{"a": 2,"k": 1}'],
    ['{ "a" : 2 }', '{ "a" : 2, "k": 1 }'],
    ['{\n\t"a": 2\n}\n', '{\n\t"a": 2,\n\t"k": 1\n}\n'],
    ['{\r\n    "a": 2\r\n}', '{\r\n    "a": 2,\r\n    "k": 1\r\n}'],
  ] as const) {
    const edit = appendMember(before, readJson(before) as JsonNode & { kind: 'object' }, 'k', '1')
    assert.equal(applyEdits(before, [edit]), after)
  }
})

test('an entry goes with its comma, wherever it stands', () => {
  for (const [before, index, after] of [
    ['["a"]', 0, '[]'],
    ['["a", "b", "c"]', 0, '["b", "c"]'],
    ['["a", "b", "c"]', 1, '["a", "c"]'],
    ['["a", "b", "c"]', 2, '["a", "b"]'],
    ['{\n  "a": 1,\n  "b": 2\n}', 1, '{\n  "a": 1\n}'],
    ['{\n  "a": 1,\n  "b": 2\n}', 0, '{\n  "b": 2\n}'],
  ] as const) {
    assert.equal(applyEdits(before, [removeEntry(before, readJson(before), index)]), after)
  }
})

function isTaken(read: () => unknown): boolean {
  try {
    read()
    return true
  } catch {
    return false
  }
}
