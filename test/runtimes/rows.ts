// Runs the rows of the matrix for one way of telling a runtime of the dfdaemon: cold, warm, refused, and with the dfdaemon down.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { AccessLine } from '../harness/docker-registry.ts'
import type { LabHost } from '../harness/lab-network.ts'
import { type Credentials, Lab, type LabImage, registryFor, stranger, user } from './lab.ts'
import { type Auth, findWay, type Outcome, type Row, rowsOf } from './matrix.ts'
import type { Puller } from './puller.ts'
import { findPuller } from './pullers.ts'
import { assertAllToRuntime, assertNoBlob, assertOnceToPantala } from './source-log.ts'

/** Runs a test for some ways of one lab, with one for each row in it. */
export function testRows(title: string, ids: readonly string[]): void {
  const pullers = ids.map(findPuller)
  test(title, async t => {
    const lab = await Lab.start(t, {
      commands: pullers.flatMap(({ commands }) => commands),
      dfdaemonSettings: host =>
        Object.assign({}, ...pullers.map(({ dfdaemonSettings }) => dfdaemonSettings?.(host))),
      hosts: 2,
    })
    if (lab === undefined) return
    const downs: (() => Promise<void>)[] = []
    for (const id of ids)
      await t.test(describe(id), async inner => {
        downs.push(await tryWay(inner, lab, id))
      })
    await lab.host().process.stop()
    for (const down of downs) await down()
  })

  function describe(id: string): string {
    const { runtime, told } = findWay(id)
    return `${runtime}, told by ${told}`
  }

  /** Runs the rows of a way; returns what is to be run when the dfdaemon is down. */
  async function tryWay(t: TestContext, lab: Lab, id: string): Promise<() => Promise<void>> {
    const { start } = findPuller(id)
    const puller = await start(lab, 0)
    const images = new Map<Row, LabImage>()
    for (const row of rowsOf(findWay(id))) {
      await t.test(row.title, async () => {
        const image = await lab.addImage(registryOf(row), repositoryOf(row))
        images.set(row, image)
        await tryRow(lab, puller, row, image)
      })
    }
    await t.test('what one host has, another needs no registry for', async () => {
      const [row, image] = [...images].find(([{ auth, up }]) => up.from === 'Pantala' && !needsLogin(auth))!
      const other = await start(lab, 1)
      assertNoBlob(await pullAfresh(lab, other, image, undefined, row.up, 'another host'))
    })
    return async () => {
      for (const [row, image] of images)
        await lab.test.test(`${describe(id)}: ${row.title}, dfdaemon down`, () =>
          tryDown(lab, puller, row, image),
        )
    }
  }
}

function registryOf({ way, auth, scheme }: Row): LabHost | 'docker.io' {
  return way.id === 'docker-mirror' ? 'docker.io' : registryFor(auth, scheme)
}

function repositoryOf({ way, auth, scheme }: Row): string {
  return `${auth === 'public' ? 'library' : 'team'}/${way.id}-${auth}-${scheme}`.toLowerCase()
}

async function tryRow(lab: Lab, puller: Puller, row: Row, image: LabImage): Promise<void> {
  const credentials = needsLogin(row.auth) ? user : undefined
  for (const state of ['cold', 'warm'] as const) {
    const log = await pullAfresh(lab, puller, image, credentials, row.up, state)
    if (row.up.from !== 'Pantala') continue
    if (state === 'cold') assertOnceToPantala(log, image)
    else assertNoBlob(log)
  }
  if (credentials === undefined) return
  const before = await lab.bytesFromCache()
  for (const refused of [undefined, stranger]) {
    await puller.clear()
    const how = refused === undefined ? 'without credentials' : 'with wrong credentials'
    await assert.rejects(puller.pull(image, refused), how)
    assert.deepEqual(await puller.held(), [], how)
  }
  assert.equal(await lab.bytesFromCache(), before, 'a refused caller was given content')
}

async function tryDown(lab: Lab, puller: Puller, row: Row, image: LabImage): Promise<void> {
  const credentials = needsLogin(row.auth) ? user : undefined
  await pullAfresh(lab, puller, image, credentials, row.down, 'down')
}

function needsLogin(auth: Auth): boolean {
  return auth === 'basic' || auth === 'token'
}

/** Pulls into an empty runtime and holds the end against the matrix; returns what the registry was asked. */
async function pullAfresh(
  lab: Lab,
  puller: Puller,
  image: LabImage,
  credentials: Credentials | undefined,
  outcome: Outcome,
  state: string,
): Promise<AccessLine[]> {
  await puller.clear()
  await lab.takeLog(image.registry)
  const pull = puller.pull(image, credentials)
  if (outcome.from === 'nowhere') {
    await assert.rejects(pull, state)
    assert.deepEqual(await puller.held(), [], state)
    return lab.takeLog(image.registry)
  }
  await pull
  assert.deepEqual(await puller.held(), puller.expected(image), state)
  const log = await lab.takeLog(image.registry)
  if (outcome.from !== 'Pantala') assertAllToRuntime(log, image)
  return log
}
