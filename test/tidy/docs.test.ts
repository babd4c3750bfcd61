// Documents tell the truth: those made from the code are equal to it, links lead somewhere, nothing names a machine or a download address.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { renderDocs } from '../../scripts/write-docs.ts'
import { listFiles, readSourceFiles, root } from './source-files.ts'

const documents = [join(root, 'README.md'), ...listFiles(join(root, 'docs'), '.md')]

test('documents made from the code are up to date (npm run docs)', async () => {
  for (const [name, text] of Object.entries(await renderDocs())) {
    assert.equal(readFileSync(join(root, 'docs', name), 'utf8'), text, `docs/${name} differs from the code`)
  }
})

test('every link inside the documents leads to a file', () => {
  const broken: string[] = []
  for (const file of documents) {
    for (const [, target] of readFileSync(file, 'utf8').matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue
      if (!existsSync(join(dirname(file), target!))) broken.push(`${relative(root, file)}: ${target}`)
    }
  }
  assert.deepEqual(broken, [])
})

test('every error code used in a document is in the catalogue', async () => {
  const { errorCatalogue } = await import('../../shared/errors.ts')
  const wrong: string[] = []
  // Names of limits look like codes.
  for (const file of documents.filter(name => !name.endsWith('limits.md'))) {
    for (const [code] of readFileSync(file, 'utf8').matchAll(
      /\b(?:SOURCE|PARENT|SUPERNODE|STORE|UPSTREAM)_[A-Z_]+\b/g,
    )) {
      if (!(code in errorCatalogue)) wrong.push(`${relative(root, file)}: ${code}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('nothing names a path of one machine', () => {
  const machine = new RegExp(['/wo', 'rk/|/ro', 'ot/'].join(''))
  const wrong = [
    ...documents.filter(file => machine.test(readFileSync(file, 'utf8'))).map(file => relative(root, file)),
    ...readSourceFiles()
      .filter(({ text }) => machine.test(text))
      .map(({ path }) => path),
  ]
  assert.deepEqual(wrong, [])
})
