// Runs the rows of the matrix for one way of telling a runtime of the dfdaemon: cold, warm, refused, and with the dfdaemon down.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Credentials, Lab, type LabImage, registryFor, stranger, user } from './lab.ts'
import { findWay, type Row, rowsOf } from './matrix.ts'
import { assertAllToRuntime, assertNoBlob, assertOnceToPantala } from './source-log.ts'

/** A runtime that was told of the first host's dfdaemon. */
export interface Puller {
  /** Pulls with these credentials alone. @throws Error with the runtime's words */
  pull(image: LabImage, credentials: Credentials | undefined): Promise<unknown>
  /** Digests that say what the runtime holds of the image; it lists none of an image it has not got. */
  identity(image: LabImage): Promise<readonly string[]>
  /** What `identity` must be. */
  expected(image: LabImage): readonly string[]
  /** Removes the image, so that the next pull asks for all of it. */
  remove(image: LabImage): Promise<unknown>
}

/** Runs a test for a way, and in it one for each row. `start` makes the puller and has it stopped after the test. */
export function testRows(
  id: string,
  commands: readonly string[],
  start: (lab: Lab) => Promise<Puller>,
): void {
  const way = findWay(id)
  const rows = rowsOf(way).filter(row => row.closed === undefined)
  test(`${way.runtime}, ${way.told}`, async t => {
    const lab = await Lab.start(t, { commands })
    if (lab === undefined) return
    const puller = await start(lab)
    const images = new Map<Row, LabImage>()
    for (const row of rows) {
      await t.test(row.title, async () => {
        const image = await lab.addImage(
          registryFor(row.auth, row.scheme),
          `team/${id}-${row.auth}-${row.scheme}`.toLowerCase(),
        )
        images.set(row, image)
        await tryRow(lab, puller, row, image)
      })
    }
    await lab.host().process.stop()
    for (const row of rows) {
      const image = images.get(row)
      if (image !== undefined)
        await t.test(`${row.title}, dfdaemon down`, () => tryDown(lab, puller, row, image))
    }
  })
}

async function tryRow(lab: Lab, puller: Puller, row: Row, image: LabImage): Promise<void> {
  const credentials = row.auth === 'anonymous' ? undefined : user
  await lab.takeLog(image.registry)
  await puller.pull(image, credentials)
  assert.deepEqual(await puller.identity(image), puller.expected(image), 'cold')
  assertOnceToPantala(await lab.takeLog(image.registry), image)
  await puller.remove(image)

  await puller.pull(image, credentials)
  assert.deepEqual(await puller.identity(image), puller.expected(image), 'warm')
  assertNoBlob(await lab.takeLog(image.registry))
  await puller.remove(image)
  if (row.auth === 'anonymous') return

  const before = await lab.bytesFromCache()
  for (const refused of [undefined, stranger]) {
    await assert.rejects(
      puller.pull(image, refused),
      `${refused === undefined ? 'without' : 'with wrong'} credentials`,
    )
    assert.deepEqual(await puller.identity(image), [])
  }
  assert.equal(await lab.bytesFromCache(), before, 'a refused caller was given content')
  await lab.takeLog(image.registry)
}

async function tryDown(lab: Lab, puller: Puller, row: Row, image: LabImage): Promise<void> {
  const credentials = row.auth === 'anonymous' ? undefined : user
  const pull = puller.pull(image, credentials)
  if (row.down.to === 'nothing') {
    await assert.rejects(pull)
    return
  }
  await pull
  assert.deepEqual(await puller.identity(image), puller.expected(image))
  assertAllToRuntime(await lab.takeLog(row.down.to === 'registry' ? image.registry : 'docker.io'), image)
  await puller.remove(image)
}
