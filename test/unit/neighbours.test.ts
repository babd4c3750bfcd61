// The hosts a dfdaemon knows of: whom it asks about a blob, how many it remembers, and what it keeps over a restart.
import assert from 'node:assert/strict'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import pino from 'pino'
import { loadWelcome, WelcomeKeeper } from '../../dfdaemon/discovery/kept-welcome.ts'
import { Neighbours } from '../../dfdaemon/discovery/neighbours.ts'
import type { Candidate } from '../../shared/protocol/messages.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'

const logger = pino({ level: 'silent' })
const digest = `sha256:${'ab'.repeat(32)}` as const
const host = (index: number): Candidate => ({
  host: `12D3KooWHost${String(index).padStart(8, '0')}abcdefgh`.replaceAll('0', 'z'),
  addresses: [`/ip4/10.0.0.${index % 250}/tcp/65002`],
  seed: false,
})

test('all who know the same hosts ask the same ones first, and some at random', () => {
  const all = Array.from({ length: 100 }, (_, index) => host(index))
  const views = [0.1, 0.9].map(value => {
    const neighbours = new Neighbours({ random: () => value }, { self: 'me' })
    neighbours.learn(value < 0.5 ? all : all.toReversed())
    return neighbours.toAsk(digest).map(each => each.host)
  })
  assert.deepEqual(views[0]!.slice(0, 6), views[1]!.slice(0, 6))
  assert.notDeepEqual(views[0], views[1])
  assert.equal(new Set(views[0]).size, 10)
})

test('this host itself and hosts without an address are not remembered; the longest unheard of go first', () => {
  const neighbours = new Neighbours({ random: Math.random }, { self: host(0).host })
  neighbours.learn([host(0), { ...host(1), addresses: [] }])
  assert.equal(neighbours.size, 0)
  neighbours.learn(Array.from({ length: 600 }, (_, index) => host(index + 1)))
  assert.equal(neighbours.size, 512)
  assert.deepEqual(neighbours.newest(1), [host(600)])
  assert.ok(!neighbours.newest(1000).some(each => each.host === host(88).host))
})

test('ticket and neighbours are there again after a restart, readable by their owner alone', async t => {
  const file = join(await makeTestDirectory(t, 'neighbours'), 'welcome.json')
  assert.deepEqual(await loadWelcome(file), { ticket: undefined, neighbours: [], aheadMs: 0 })
  const keeper = new WelcomeKeeper({ logger }, { file })
  keeper.keep({ ticket: Buffer.from('one'), neighbours: [], aheadMs: 0 })
  keeper.keep({ ticket: Buffer.from('two'), neighbours: [host(1), host(2)], aheadMs: -7_200_000 })
  await keeper.stop()
  const kept = await loadWelcome(file)
  assert.equal(Buffer.from(kept.ticket!).toString(), 'two')
  assert.deepEqual(kept.neighbours, [host(1), host(2)])
  assert.equal(kept.aheadMs, -7_200_000)
  assert.equal((await stat(file)).mode & 0o777, 0o600)
})

test('a file that was tampered with yields nothing that is no host', async t => {
  const file = join(await makeTestDirectory(t, 'neighbours'), 'welcome.json')
  for (const text of [
    '',
    '[]',
    'null',
    '{"neighbours":7}',
    '{"aheadMs":"1"}',
    '{"ticket":5,"neighbours":[1,{"host":"../x"}]}',
  ]) {
    await writeFile(file, text)
    assert.deepEqual(await loadWelcome(file), { ticket: undefined, neighbours: [], aheadMs: 0 })
  }
  await writeFile(file, JSON.stringify({ neighbours: [{ host: host(1).host, addresses: ['x', '/ok', 3] }] }))
  assert.deepEqual((await loadWelcome(file)).neighbours, [{ ...host(1), addresses: ['/ok'] }])
  assert.ok((await readFile(file)).byteLength > 0)
})
