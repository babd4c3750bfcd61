// Log lines: JSON, and no credential in them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PantalaError } from '../../shared/errors.ts'
import { createLogger, stripCredentials } from '../../shared/logger.ts'

function capture() {
  const lines: string[] = []
  const logger = createLogger(
    { name: 'test', level: 'trace', format: 'json' },
    { write: line => void lines.push(line) },
  )
  return { logger, lines }
}

test('credentials are not logged, wherever they are by name', () => {
  const { logger, lines } = capture()
  logger.info(
    { authorization: 'Basic aGk6aHVudGVyMg==', source: { authorization: 'Bearer hunter2', registry: 'r' } },
    'a',
  )
  logger.info(
    {
      request: { headers: { authorization: 'hunter2' } },
      password: 'hunter2',
      token: 'hunter2',
      secret: 'hunter2',
    },
    'b',
  )
  assert.equal(lines.length, 2)
  for (const line of lines) assert.doesNotMatch(line, /hunter2|aHVudGVyMg/)
  assert.match(lines[0]!, /"registry":"r"/)
})

test('errors are logged with code and message, without the user and password of a URL', () => {
  const { logger, lines } = capture()
  logger.warn({ err: new PantalaError('SOURCE_AWAY', { detail: 'https://bob:hunter2@reg.lab/v2/' }) }, 'away')
  const line = JSON.parse(lines[0]!)
  assert.equal(line.err.code, 'SOURCE_AWAY')
  assert.match(line.err.message, /https:\/\/reg\.lab\/v2\//)
  assert.doesNotMatch(lines[0]!, /hunter2/)
})

test('credentials are taken out of every URL in a text', () => {
  assert.equal(stripCredentials('a http://u:p@h/x b https://t@h2'), 'a http://h/x b https://h2')
})
