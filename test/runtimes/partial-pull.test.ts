// podman with partial pulls of zstd:chunked layers: it asks for many ranges at once, and takes each part of the answer by its place.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { noProxies, removeWithMounts, runCommand } from '../harness/container-engines.ts'
import { DockerRegistry } from '../harness/docker-registry.ts'
import { requireCommands } from '../harness/packages.ts'
import { Swarm } from '../harness/swarm.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'

const FILES = 24
const FILE_BYTES = 700_000
/** Every fourth file is another in the second version. */
const CHANGED = FILES / 4

for (const prefetch of [false, true]) {
  test(`podman pulls only what changed of a layer, ${prefetch ? 'and the rest follows' : 'and so does dfdaemon'}`, async t => {
    if (!requireCommands(t, 'podman', 'docker-registry')) return
    const registry = new DockerRegistry()
    t.after(() => registry.stop())
    await registry.start()
    const swarm = await Swarm.start(t, {
      hosts: 1,
      sourceAddress: registry.address,
      dfdaemon: { 'proxy.prefetch': String(prefetch) },
    })
    const [host] = swarm.hosts
    const front = await startFront(t, host!.daemon.proxyUrl)
    const directory = await makeTestDirectory(t, 'partial')
    t.after(() => removeWithMounts(directory))
    const podman = await makePodman(directory, registry.address, front.address)
    const names = await pushTwoVersions(directory, registry.address, podman)

    await podman('pull', '--quiet', names[0]!)
    const before = (await swarm.counts(host!)).fromPeers
    front.asked.length = 0
    const told = await podman('pull', '--quiet', '--log-level', 'debug', names[1]!)
    assert.match(told, /Retrieved partial blob/)
    const several = front.asked.find(({ range }) => range !== undefined && range.split(',').length >= CHANGED)
    assert.ok(several !== undefined, `no request for several ranges: ${JSON.stringify(front.asked)}`)
    assert.equal(several.status, 206)
    assert.match(several.type ?? '', /^multipart\/byteranges; boundary=/)
    if (prefetch) return
    const fetched = (await swarm.counts(host!)).fromPeers - before
    assert.ok(fetched < 0.8 * FILES * FILE_BYTES, `${fetched} bytes were fetched for ${CHANGED} files`)
  })
}

interface Asked {
  readonly range: string | undefined
  readonly status: number
  readonly type: string | undefined
}

/** Stands before a proxy and notes what it was asked. */
async function startFront(t: TestContext, url: string): Promise<{ address: string; asked: Asked[] }> {
  const asked: Asked[] = []
  const server = createServer((incoming, outgoing) => {
    const { method, headers } = incoming
    const onward = httpRequest(
      new URL(incoming.url!, url),
      { method: method!, headers, agent: false },
      answer => {
        const type: IncomingHttpHeaders['content-type'] = answer.headers['content-type']
        asked.push({ range: headers.range, status: answer.statusCode!, type })
        outgoing.writeHead(answer.statusCode!, answer.headers)
        answer.pipe(outgoing)
      },
    )
    onward.on('error', () => outgoing.destroy())
    incoming.pipe(onward)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

/** podman with storage that can take layers in parts, and a mirror for the registry; gives back what was printed, also as errors. */
async function makePodman(directory: string, registry: string, mirror: string) {
  const at = (name: string): string => join(directory, name)
  const storage = `[storage]
driver = "overlay"
graphroot = "${at('root')}"
runroot = "${at('r')}"
[storage.options]
pull_options = {enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}
`
  const registries = `[[registry]]
location = "${registry}"
insecure = true
[[registry.mirror]]
location = "${mirror}"
insecure = true
`
  await writeFile(at('storage.conf'), storage)
  await writeFile(at('registries.conf'), registries)
  await writeFile(at('auth.json'), '{"auths":{}}')
  await mkdir(at('tmp'))
  const env = {
    ...noProxies,
    CONTAINERS_STORAGE_CONF: at('storage.conf'),
    CONTAINERS_REGISTRIES_CONF: at('registries.conf'),
    REGISTRY_AUTH_FILE: at('auth.json'),
  }
  return async (...args: string[]): Promise<string> => {
    const { stdout, stderr } = await runCommand('podman', ['--tmpdir', at('tmp'), ...args], { env })
    return stdout + stderr
  }
}

/** Two images of one layer each, which have most files in common; nothing of them is left in podman's storage. */
async function pushTwoVersions(
  directory: string,
  registry: string,
  podman: (...args: string[]) => Promise<string>,
): Promise<string[]> {
  const context = join(directory, 'context')
  await mkdir(context)
  const names: string[] = []
  for (const version of ['v1', 'v2']) {
    for (let file = 0; file < FILES; file++) {
      if (version === 'v1' || file % 4 === 1)
        await writeFile(join(context, `file-${file}`), randomBytes(FILE_BYTES))
    }
    await writeFile(join(context, 'Containerfile'), 'FROM scratch\nCOPY file-* /\n')
    const name = `${registry}/partial:${version}`
    await podman('build', '--quiet', '--isolation', 'chroot', '--no-cache', '--tag', name, context)
    await podman('push', '--quiet', '--compression-format', 'zstd:chunked', name, `docker://${name}`)
    names.push(name)
  }
  await podman('rmi', '--all', '--force')
  return names
}
