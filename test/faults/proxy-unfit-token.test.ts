// Tokens that were meant for another registry, since GET /v2/ names none: they stand in nobody's way to what anyone may have.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PantalaError } from '../../shared/errors.ts'
import { startProxy } from './proxy-harness.ts'

const unauthorized = (challenge: string) => new PantalaError('SOURCE_UNAUTHORIZED', { challenge })
const bearer = { authorization: 'Bearer for-another' }

test('a registry named in the path is asked without the token first, and what it gives anyone is served', async t => {
  const { ask, asked, behaviour, proxy } = await startProxy()
  t.after(() => proxy.stop(0))
  behaviour.judge = authorization => {
    if (authorization !== undefined) throw unauthorized('Bearer realm="https://auth.one.lab/"')
  }
  const answer = await ask('/v2/one.lab/team/app/manifests/v1', { headers: bearer })
  assert.equal(answer.status, 200)
  assert.deepEqual(
    asked.map(({ registry, authorization }) => [registry, authorization]),
    [['one.lab', undefined]],
  )
})

test('where it wants a token, the client’s is tried, and a refusal is the registry’s own', async t => {
  const { ask, asked, behaviour, proxy } = await startProxy()
  t.after(() => proxy.stop(0))
  behaviour.judge = authorization => {
    if (authorization !== 'Bearer fits') throw unauthorized('Bearer realm="https://auth.one.lab/"')
  }
  const fits = { headers: { authorization: 'Bearer fits' } }
  assert.equal((await ask('/v2/one.lab/team/app/manifests/v1', fits)).status, 200)
  assert.deepEqual(
    asked.map(each => each.authorization),
    [undefined, 'Bearer fits'],
  )
  const refused = await ask('/v2/one.lab/team/app/manifests/v1', { headers: bearer })
  assert.equal(refused.status, 401)
  assert.equal(refused.headers['www-authenticate'], 'Bearer realm="https://auth.one.lab/"')
})

test('a token for the registry itself, and a login, are used as they are', async t => {
  const { ask, asked, proxy } = await startProxy()
  t.after(() => proxy.stop(0))
  await ask('/v2/team/app/manifests/v1', { headers: bearer })
  await ask('/v2/team/app/manifests/v1?ns=one.lab', { headers: bearer })
  await ask('/v2/one.lab/team/app/manifests/v1', { headers: { authorization: 'Basic eDp5' } })
  assert.deepEqual(
    asked.map(each => each.authorization),
    ['Bearer for-another', 'Bearer for-another', 'Basic eDp5'],
  )
})
