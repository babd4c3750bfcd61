// What the proxy fetches before it is asked for: one layer ahead of a runtime, no more, and never to anyone's cost.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { type TestContext, test } from 'node:test'
import { LayersAhead } from '../../dfdaemon/proxy/layers-ahead.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { createLogger } from '../../shared/logger.ts'
import { MemoryBlobs } from '../doubles/memory-blobs.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'
import { until } from '../harness/until.ts'
import { type HarnessInit, startProxy } from './proxy-harness.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** A proxy that knows layers 0 to n - 1, each followed by the next. */
async function startLayers(t: TestContext, init?: HarnessInit & { bytes?: number; layers?: number }) {
  const { bytes = 1000, layers: count = 4, ...rest } = init ?? {}
  const rig = await startProxy(rest)
  t.after(() => rig.proxy.stop(0))
  const layers = Array.from({ length: count }, () => rig.blobs.add(randomBytes(bytes)))
  for (const [index, layer] of layers.slice(1).entries()) rig.behaviour.next.set(layers[index]!, layer)
  const pathOf = (layer: Digest) => `/v2/team/app/blobs/${layer}`
  return { ...rig, layers, pathOf, pull: (index: number) => rig.ask(pathOf(layers[index]!)) }
}

test('the layer after the one that was asked for is fetched, and none after that', async t => {
  const { blobs, layers, pull, aheads } = await startLayers(t)
  assert.equal((await pull(0)).status, 200)
  await until(() => blobs.ahead.length === 1)
  assert.equal(blobs.ahead[0]!.request.digest, layers[1])
  blobs.ahead[0]!.land()
  await until(() => aheads.length === 1)
  assert.deepEqual([aheads, blobs.ahead[0]!.isOpen, blobs.ahead.length], [['whole'], false, 1])
})

test('the last layer, and a blob of no manifest, cause nothing', async t => {
  const { blobs, pull, ask } = await startLayers(t)
  await pull(3)
  await ask(`/v2/team/app/blobs/${blobs.add(Buffer.from('config'))}`)
  await turn()
  assert.equal(blobs.ahead.length, 0)
})

test('ranges and HEAD cause nothing, nor does a range that is answered with the whole', async t => {
  const { blobs, layers, ask, pathOf } = await startLayers(t)
  const path = pathOf(layers[0]!)
  assert.equal((await ask(path, { method: 'HEAD' })).status, 200)
  for (const range of ['bytes=0-99', 'bytes=0-', 'bytes=0-1,5-6']) await ask(path, { headers: { range } })
  assert.equal((await ask(path, { headers: { range: 'lines=1-2' } })).status, 200)
  await turn()
  assert.equal(blobs.ahead.length, 0)
})

test('proxy.readAhead off: nothing is fetched before it is asked for', async t => {
  const { blobs, pull } = await startLayers(t, { readAhead: false })
  for (const index of [0, 1, 2, 3]) await pull(index)
  await turn()
  assert.equal(blobs.ahead.length, 0)
})

test('a layer is fetched once at a time, however many pull the one before it', async t => {
  const { blobs, pull } = await startLayers(t)
  await Promise.all([pull(0), pull(0), pull(0)])
  await pull(0)
  await turn()
  assert.equal(blobs.ahead.length, 1)
})

test('rights to the next layer are asked for, with the same credential; without them nothing is fetched, and nobody notices', async t => {
  const { blobs, layers, pathOf, ask, behaviour, checks, aheads, results } = await startLayers(t)
  const asked: Array<readonly [Digest, string | undefined]> = []
  behaviour.judgeBlob = (source, digest) => {
    asked.push([digest, source.authorization])
    if (digest === layers[1]) throw new PantalaError('SOURCE_DENIED')
  }
  const answer = await ask(pathOf(layers[0]!), { headers: { authorization: 'Bearer mine' } })
  assert.equal(answer.status, 200)
  await until(() => aheads.length === 1)
  assert.deepEqual(asked, [
    [layers[0], 'Bearer mine'],
    [layers[1], 'Bearer mine'],
  ])
  assert.deepEqual([blobs.ahead.length, aheads, results, checks], [0, ['failed'], ['ok'], []])
})

test('a failure is told at debug level alone, and the layer can be asked for', async t => {
  const { blobs, pull, aheads, logLines } = await startLayers(t)
  await pull(0)
  await until(() => blobs.ahead.length === 1)
  blobs.ahead[0]!.fail(new PantalaError('STORE_FULL'))
  await until(() => aheads.length === 1)
  assert.deepEqual(aheads, ['failed'])
  const told = logLines.filter(line => line.includes('read ahead'))
  assert.equal(told.length, 1)
  assert.equal(JSON.parse(told[0]!).level, 20)
  assert.equal((await pull(1)).status, 200)
})

test('a layer that is asked for meanwhile is let go of, and the one after it is fetched', async t => {
  const { blobs, layers, pull, aheads } = await startLayers(t)
  await pull(0)
  await until(() => blobs.ahead.length === 1)
  await pull(1)
  await until(() => blobs.ahead.length === 2)
  assert.deepEqual(
    [blobs.ahead[0]!.isOpen, blobs.ahead[1]!.request.digest, aheads],
    [false, layers[2], ['joined']],
  )
})

test('a client that goes away before it has its layer takes the next one with it, unless another waits for it too', async t => {
  const { proxy, blobs, layers, pathOf, aheads } = await startLayers(t, { bytes: 32 * 1024 * 1024 })
  const pullSome = () => {
    const call = httpRequest(`${proxy.url}${pathOf(layers[0]!)}`, { agent: false })
    const begun = new Promise<void>(resolve =>
      call.on('response', answer => answer.once('data', () => answer.pause()).once('data', () => resolve())),
    )
    call.on('error', () => {})
    call.end()
    return { call, begun }
  }
  const [first, second] = [pullSome(), pullSome()]
  await Promise.all([first.begun, second.begun])
  await until(() => blobs.ahead.length === 1)
  first.call.destroy()
  await until(() => blobs.openStreams === 1)
  assert.deepEqual([aheads, blobs.ahead[0]!.isOpen], [[], true])
  second.call.destroy()
  await until(() => aheads.length === 1)
  assert.deepEqual([aheads, blobs.ahead[0]!.isOpen], [['left'], false])
})

test('a layer whose sending failed takes the next one with it', async t => {
  const { blobs, pull, aheads } = await startLayers(t, { bytes: 1024 * 1024 })
  blobs.failAfterBytes = 300_000
  assert.equal((await pull(0)).whole, false)
  await until(() => aheads.length === 1)
  assert.deepEqual([aheads, blobs.ahead[0]!.isOpen], [['left'], false])
})

test('a stop ends what is fetched ahead', async t => {
  const { proxy, blobs, pull, aheads } = await startLayers(t)
  await pull(0)
  await until(() => blobs.ahead.length === 1)
  await proxy.stop(0)
  await until(() => aheads.length === 1)
  assert.deepEqual([aheads, blobs.ahead[0]!.isOpen], [['left'], false])
})

test('four layers at a time, and none for longer than ten minutes', async () => {
  const clock = new TurnedClock()
  const blobs = new MemoryBlobs()
  const outcomes: string[] = []
  const digestOfText = (text: string) => digestOf(Buffer.from(text))
  const source = { registry: 'reg.lab', repository: 'team/app' }
  const ahead = new LayersAhead({
    clock,
    blobs,
    manifests: {
      get: () => Promise.reject(new Error('not asked')),
      sizeOf: () => 7,
      nextLayer: (_source, layer) => digestOfText(`after ${layer}`),
      admit: async (_source, digest) => ({ key: digest, source }),
      admitKnown: () => undefined,
    },
    logger: createLogger({ name: 'ahead', level: 'silent', format: 'json' }),
    metrics: {
      countBlobBytes() {},
      countPull() {},
      countWrite() {},
      countLayerAhead: outcome => void outcomes.push(outcome),
    },
  })
  for (let number = 0; number < 7; number++) ahead.follow(source, digestOfText(`layer ${number}`))
  await turn()
  assert.equal(blobs.ahead.length, 4)
  assert.deepEqual(blobs.ahead[0]!.request, { digest: blobs.ahead[0]!.request.digest, source, size: 7 })
  blobs.ahead[0]!.land()
  await turn()
  ahead.follow(source, digestOfText('layer 6'))
  await turn()
  assert.equal(blobs.ahead.length, 5)
  clock.advance(600_000)
  await turn()
  assert.deepEqual(outcomes, ['whole', 'left', 'left', 'left', 'left'])
  assert.equal(
    blobs.ahead.some(({ isOpen }) => isOpen),
    false,
  )
  assert.equal(clock.timers, 0)
})
