// Runs what the matrix says of trouble for one way of telling a runtime: a dfdaemon killed while an image is pulled, a registry that sends a wrong byte.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../harness/swarm.ts'
import { until } from '../harness/until.ts'
import { Lab, type LabImage } from './lab.ts'
import { findWay, type Way } from './matrix.ts'
import type { Puller } from './puller.ts'
import { findPuller } from './pullers.ts'
import { assertOnlyPantala, bytesPastPantala } from './source-log.ts'

const MiB = 1024 * 1024
/** The largest layer, the last, is the one that is in trouble: three pieces, the last of them short. */
const layerBytes = [2_000, MiB, 9 * MiB + 1_000]

/** Runs a test for a way, and in it one for each kind of trouble. */
export function testTrouble(id: string): void {
  const { commands, dfdaemonSettings, start } = findPuller(id)
  const way = findWay(id)
  test(`${way.runtime}, told by ${way.told}: trouble`, async t => {
    const lab = await Lab.start(t, {
      commands,
      dfdaemonSettings,
      faultyHub: id === 'docker-mirror',
    })
    if (lab === undefined) return
    const puller = await start(lab, 0)
    await t.test('the registry sends a wrong byte once', () => tryWrongByteOnce(lab, puller, way))
    await t.test('the registry sends a wrong byte', () => tryWrongByte(lab, puller, way))
    lab.faulty.heal()
    await t.test('dfdaemon killed while it sends', () => tryKill(lab, puller, way))
  })
}

async function tryWrongByte(lab: Lab, puller: Puller, way: Way): Promise<void> {
  const image = await addImage(lab, way, 'wrong-byte')
  const { digest } = image.platform.layers.at(-1)!
  await puller.clear()
  // docker tries for 75 s before it gives up: for it the registry fails but once.
  const isPatient = way.killed === 'goes on after 5 s'
  const times = isPatient ? 1 : Number.POSITIVE_INFINITY
  lab.faulty.fail({ kind: 'corrupt', offset: 5 * MiB, reference: digest, times })
  const worked = await endsWell(puller.pull(image, undefined))
  if (!isPatient) assert.equal(worked, false, 'a corrupt image was pulled')
  const right = new Set(puller.expected(image))
  assert.deepEqual(
    (await puller.held()).filter(held => !right.has(held)),
    [],
    'wrong content was kept',
  )

  lab.faulty.heal()
  // containerd keeps parts of what it could not complete, also those that it fetched from the registry itself: a new one has none.
  const again = way.killed === 'goes on at the registry' ? await findPuller(way.id).start(lab, 0) : puller
  await again.clear()
  await again.pull(image, undefined)
  assert.deepEqual(await again.held(), again.expected(image))
}

async function tryWrongByteOnce(lab: Lab, puller: Puller, way: Way): Promise<void> {
  const image = await addImage(lab, way, 'wrong-once')
  const { digest, size } = image.platform.layers.at(-1)!
  await puller.clear()
  // In the last piece, whose last byte nobody gets before the digest was checked.
  lab.faulty.fail({ kind: 'corrupt', offset: size - 100, reference: digest, times: 1 })
  await puller.pull(image, undefined)
  assert.deepEqual(await puller.held(), puller.expected(image))
}

async function tryKill(lab: Lab, puller: Puller, way: Way): Promise<void> {
  const image = await addImage(lab, way, 'killed')
  await puller.clear()
  await lab.takeLog('faulty.lab')
  lab.faulty.fail({ kind: 'slow', bytesPerSecond: 6 * MiB })
  const ended = endsWell(puller.pull(image, undefined))
  await until(() => lab.faulty.bytesSent > 5 * MiB)
  lab.host().process.signal('SIGKILL')
  await lab.host().process.ended
  lab.faulty.heal()
  if (way.killed === 'goes on after 5 s') await startAgain(lab)

  assert.equal(await ended, way.killed !== 'fails')
  if (way.killed === 'fails') await puller.pull(image, undefined)
  assert.deepEqual(await puller.held(), puller.expected(image))
  const log = await lab.takeLog('faulty.lab')
  if (way.killed === 'goes on after 5 s') assertOnlyPantala(log)
  else assert.ok(bytesPastPantala(log) > 0, 'the rest came from nowhere')
  if (way.killed === 'goes on at the registry')
    assert.ok(bytesPastPantala(log) < image.platform.layers.at(-1)!.size, 'it began anew')

  if (way.killed !== 'goes on after 5 s') await startAgain(lab)
  await puller.clear()
  await puller.pull(image, undefined)
  assert.deepEqual(await puller.held(), puller.expected(image), 'after the restart')
  assertOnlyPantala(await lab.takeLog('faulty.lab'))
}

async function startAgain(lab: Lab): Promise<void> {
  lab.host().process.start()
  await eventually('the dfdaemon is back', async () => (await fetch(`${lab.host().adminUrl}/readyz`)).ok)
}

function endsWell(pull: Promise<unknown>): Promise<boolean> {
  return pull.then(
    () => true,
    () => false,
  )
}

function addImage(lab: Lab, way: Way, name: string): Promise<LabImage> {
  return way.id === 'docker-mirror'
    ? lab.addImage('docker.io', `library/${way.id}-${name}`, layerBytes)
    : lab.addImage('faulty.lab', `team/${way.id}-${name}`, layerBytes)
}
