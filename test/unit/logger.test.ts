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
  logger.info({ a: { b: { c: [{ 'x-registry-token': 'hunter2', clusterSecret: 'hunter2' }] } } }, 'c')
  logger.child({ token: 'hunter2' }).info('d %s', 'https://bob:hunter2@reg.lab/')
  logger.info({ url: 'https://bob:hunter2@reg.lab/v2/', list: ['http://u:hunter2@m.lab'] }, 'e')
  logger.info('pulling from http://bob:hunter2@reg.lab')
  assert.equal(lines.length, 6)
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

test('an error by itself, or under any name, is described and stripped', () => {
  const { logger, lines } = capture()
  const cause = new Error('http://u:hunter2@h')
  logger.error(new Error('no answer from http://u:hunter2@h', { cause }))
  logger.error({ reason: new Error('http://u:hunter2@h') }, 'gone')
  for (const line of lines) assert.doesNotMatch(line, /hunter2/)
  const first = JSON.parse(lines[0]!)
  assert.equal(first.msg, 'no answer from http://h')
  assert.equal(first.err.cause, 'http://h')
  assert.equal(JSON.parse(lines[1]!).reason.message, 'http://h')
})

test('what knows how to write itself does, and depth has an end', () => {
  const { logger, lines } = capture()
  const endless: Record<string, unknown> = {}
  endless['self'] = endless
  logger.info({ at: new Date(0), endless, on: true, secretSet: true, n: 1n < 2n, none: null }, 'x')
  const line = JSON.parse(lines[0]!)
  assert.equal(line.at, '1970-01-01T00:00:00.000Z')
  assert.equal(line.secretSet, true)
  assert.equal(line.none, null)
  assert.match(lines[0]!, /\[deep\]/)
})

test('credentials are taken out of every URL in a text', () => {
  assert.equal(stripCredentials('a http://u:p@h/x b https://t@h2'), 'a http://h/x b https://h2')
})
