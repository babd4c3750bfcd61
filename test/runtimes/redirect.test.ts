// A registry that redirects blobs to object storage: the redirect is followed for the runtimes, with nobody's credentials, and once.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { labHosts } from '../harness/lab-network.ts'
import { type FrontLine, RedirectingFront } from '../harness/redirecting-front.ts'
import { Lab, type LabImage, ownPorts, user } from './lab.ts'
import { findWay } from './matrix.ts'
import { findPuller } from './pullers.ts'

const ids = ['docker-port', 'ctr-named', 'podman-port', 'skopeo-port']

test('a registry that redirects blobs', async t => {
  const commands = ['nginx', ...ids.flatMap(id => findPuller(id).commands)]
  const lab = await Lab.start(t, { commands, dfdaemonSettings: ownPorts })
  if (lab === undefined) return
  const front = new RedirectingFront({
    ...lab.files,
    frontAddress: labHosts['front.lab'],
    storageAddress: labHosts['storage.lab'],
    storageName: 'storage.lab',
    registryUrl: `https://${labHosts['token-tls.lab']}`,
    storage: lab.storage,
  })
  lab.after(() => front.stop())
  await front.start()
  for (const id of ids) {
    const { runtime, told } = findWay(id)
    await t.test(`${runtime}, told by ${told}`, async () => {
      const image = await lab.addImage('front.lab', `team/redirected-${id}`)
      const puller = await findPuller(id).start(lab, 0)
      await puller.pull(image, user)
      assert.deepEqual(await puller.held(), puller.expected(image), 'cold')
      assertRedirectedOnce(await front.takeLog(), image)

      await puller.clear()
      await puller.pull(image, user)
      assert.deepEqual(await puller.held(), puller.expected(image), 'warm')
      assert.deepEqual(toStorage(await front.takeLog()), [])

      await puller.clear()
      await assert.rejects(puller.pull(image, undefined))
      assert.deepEqual(toStorage(await front.takeLog()), [], 'without credentials')
    })
  }
})

function assertRedirectedOnce(log: readonly FrontLine[], image: LabImage): void {
  assert.deepEqual(
    log.filter(line => line.userAgent !== 'pantala'),
    [],
    'a runtime went past Pantala',
  )
  const sent = toStorage(log)
  assert.deepEqual(
    sent.filter(line => line.authorized || line.status >= 300),
    [],
    'the object storage was shown credentials, or refused',
  )
  for (const { digest, size } of [image.platform.config, ...image.platform.layers]) {
    const lines = sent.filter(
      line => line.method === 'GET' && line.path.includes(digest.slice('sha256:'.length)),
    )
    assert.equal(
      lines.reduce((sum, line) => sum + line.bytes, 0),
      size,
      `bytes of ${digest}`,
    )
  }
}

function toStorage(log: readonly FrontLine[]): FrontLine[] {
  return log.filter(line => line.to === 'storage')
}
