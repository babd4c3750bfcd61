// Every file says its job first, stays short, exports by name, and has a name that says something.
import assert from 'node:assert/strict'
import { basename } from 'node:path'
import { test } from 'node:test'
import { readSourceFiles } from './source-files.ts'

/** Lines a file may have. */
const LINES_MAX = 400

const files = readSourceFiles()

function offenders(isWrong: (path: string, text: string) => boolean): string[] {
  return files.filter(({ path, text }) => isWrong(path, text)).map(({ path }) => path)
}

test('files open with a sentence on their job', () => {
  assert.deepEqual(
    offenders((_path, text) => !/^(#!.*\n)?\/\/ \S.{15,}/.test(text)),
    [],
  )
})

test(`files have at most ${LINES_MAX} lines`, () => {
  assert.deepEqual(
    offenders((_path, text) => text.split('\n').length - 1 > LINES_MAX),
    [],
  )
})

test('nothing is exported by default, and no file only passes on the exports of others', () => {
  assert.deepEqual(
    offenders((_path, text) => /^export default\b/m.test(text) || /^export \* from\b/m.test(text)),
    [],
  )
})

test('no file or class is named after nothing in particular', () => {
  const empty = /(^|[-.])(manager|helper|helpers|util|utils|common|data|info|types)([-.]|$)/
  assert.deepEqual(
    offenders(path => empty.test(basename(path, '.ts'))),
    [],
  )
  assert.deepEqual(
    offenders((_path, text) =>
      /^export (?:class|interface|type) \w*(Manager|Helper|Util|Utils)\b/m.test(text),
    ),
    [],
  )
})

test('only syntax that Node runs as it is: no enums, namespaces or parameter properties', () => {
  assert.deepEqual(
    offenders((_path, text) => /^(export )?(const )?enum \w|^(export )?namespace \w/m.test(text)),
    [],
  )
})

test('nothing is left for later', () => {
  const marks = new RegExp(
    `\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')}|${['XX', 'X'].join('')})\\b`,
  )
  assert.deepEqual(
    offenders((_path, text) => marks.test(text)),
    [],
  )
})

test('a test file has a test in it', () => {
  assert.deepEqual(
    offenders(
      (path, text) => path.endsWith('.test.ts') && !/\b(test|it|describe)\w*\(|Suite\(|runs?\w*\(/.test(text),
    ),
    [],
  )
})
