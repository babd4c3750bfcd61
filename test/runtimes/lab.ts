// What the runtimes' tests stand on: docker-registry in every kind, a token server, a look-alike of Docker Hub, and a cluster of real processes.
import type { TestContext } from 'node:test'
import { type ClusterHost, type HostSettings, LocalCluster } from '../../cli/demo/cluster.ts'
import { parseMetrics, sumMetric } from '../../cli/demo/metrics-text.ts'
import { findPlatformImage, type PlatformImage } from '../../cli/demo/oci-layout.ts'
import { SourceRegistry } from '../../cli/demo/registry.ts'
import { type AccessLine, DockerRegistry, type RegistryAuth } from '../harness/docker-registry.ts'
import { findLab, type LabFiles, type LabHost, labHosts, requireLab } from '../harness/lab-network.ts'
import { requireCommands } from '../harness/packages.ts'
import { makeSmallImage } from '../harness/small-image.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { TokenServer } from '../harness/token-server.ts'
import { until } from '../harness/until.ts'
import type { Auth, Scheme } from './matrix.ts'

export interface Credentials {
  readonly user: string
  readonly password: string
}

/** Whom every registry of the lab lets in that asks. */
export const user: Credentials = { user: 'ann', password: 'looking-glass' }
export const stranger: Credentials = { user: 'ann', password: 'wrong' }
/** `user` for an htpasswd file; bcrypt at its lowest cost. */
const htpasswdLine = 'ann:$2b$04$Qo95Iwb7ok8hWC5y/C7Sju/nLhHxe67W6h7Rmob4Gec866mOESEKW'

export interface LabImage {
  /** The registry it is pulled from. */
  readonly registry: string
  readonly repository: string
  /** Registry, repository and tag. */
  readonly name: string
  readonly platform: PlatformImage
}

const MiB = 1024 * 1024
/** A tiny layer, one piece, and two pieces with a short last one. */
const rowLayerBytes = [2_000, 1.5 * MiB, 5 * MiB + 12_345]

export interface LabOptions {
  /** Commands without which there is nothing to test. */
  readonly commands?: readonly string[]
  readonly hosts?: number
  /** More settings for each dfdaemon, by its number. */
  readonly dfdaemonSettings?: ((host: number) => HostSettings) | undefined
  /** The dfdaemons ask faulty.lab for Docker Hub's images before Docker Hub itself. */
  readonly faultyHub?: boolean
}

export class Lab {
  readonly files: LabFiles
  readonly registries = new Map<string, DockerRegistry>()
  readonly tokens: TokenServer
  readonly cluster: LocalCluster
  /** faulty.lab: a registry that can be told to fail. */
  readonly faulty = new SourceRegistry({ host: labHosts['faulty.lab'], port: 80 })
  readonly test: TestContext
  readonly #backDoor = new DockerRegistry()

  private constructor(t: TestContext, files: LabFiles, options: LabOptions) {
    this.test = t
    this.files = files
    this.tokens = new TokenServer({
      host: labHosts['token.lab'],
      ports: { http: 80, tls: 443 },
      certificate: files.certificate,
      key: files.key,
      users: { [user.user]: user.password },
      publicPrefixes: ['library/', 'public/'],
    })
    this.cluster = new LocalCluster({
      hosts: options.hosts ?? 1,
      upstreams: () => upstreams(files, options),
      dfdaemonSettings: options.dfdaemonSettings,
    })
  }

  /** Starts all of it and takes it down after the test; undefined if the test was skipped, aloud, for want of something. */
  static async start(t: TestContext, options: LabOptions = {}): Promise<Lab | undefined> {
    if (!requireCommands(t, 'docker-registry', ...(options.commands ?? [])) || !requireLab(t))
      return undefined
    const lab = new Lab(t, findLab()!, options)
    t.after(() => lab.#stop())
    await lab.#backDoor.start()
    await lab.tokens.start()
    await lab.faulty.start()
    await Promise.all([...registryKinds(lab.files)].map(kind => lab.#startRegistry(kind)))
    await lab.cluster.start(AbortSignal.timeout(60_000))
    return lab
  }

  async #startRegistry(kind: RegistryKind): Promise<void> {
    const { name, tls, auth } = kind
    const registry = new DockerRegistry({
      host: labHosts[name],
      port: tls ? 443 : 80,
      name,
      storage: this.#backDoor.storage,
      ...(tls ? { tls: this.files } : {}),
      ...(auth === undefined ? {} : { auth }),
    })
    this.registries.set(name, registry)
    await registry.start()
  }

  async #stop(): Promise<void> {
    if (!this.test.passed)
      for (const host of this.cluster.hosts)
        process.stderr.write(`${host.process.explain(host.name).message}\n`)
    await this.cluster.stop()
    await this.tokens.stop()
    await this.faulty.stop()
    await Promise.all([...this.registries.values(), this.#backDoor].map(registry => registry.stop()))
  }

  /** Runs after the test, before its directories go. */
  after(work: () => Promise<unknown>): void {
    this.test.after(work)
  }

  host(number = 0): ClusterHost {
    return this.cluster.hosts[number]!
  }

  /** `127.0.0.1:PORT` of a host's proxy. */
  proxy(number = 0): string {
    return new URL(this.host(number).proxyUrl).host
  }

  /** Where the registries keep what they hold. */
  get storage(): string {
    return this.#backDoor.storage
  }

  /** Puts a new image into the registry that is meant; no other repository has its blobs. */
  async addImage(
    registry: LabHost | 'docker.io',
    repository: string,
    layerBytes: readonly number[] = rowLayerBytes,
  ): Promise<LabImage> {
    const directory = await makeTestDirectory(this.test, 'image')
    const layout = await makeSmallImage({ directory, seed: `${registry}/${repository}`, layerBytes })
    this.faulty.addImage(repository, layout)
    if (registry !== 'faulty.lab') await this.#backDoor.push(layout, repository)
    const platform = findPlatformImage(layout, 'v1', 'amd64')!
    return { registry, repository, name: `${registry}/${repository}:v1`, platform }
  }

  /** What a registry was asked since the last look, once it is quiet; its log is empty afterwards. */
  async takeLog(registry: string): Promise<AccessLine[]> {
    if (registry === 'faulty.lab') return this.#takeFaultyLog()
    const found = this.registries.get(registry === 'docker.io' ? 'registry-1.docker.io' : registry)!
    await found.settle(50)
    const lines = [...found.log]
    found.forget()
    return lines
  }

  async #takeFaultyLog(): Promise<AccessLine[]> {
    await until(() => this.faulty.log.every(entry => entry.done))
    const lines = this.faulty.log.map(entry => ({ ...entry, userAgent: entry.userAgent ?? '' }))
    this.faulty.forget()
    return lines
  }

  /** Bytes of blobs that a host gave out from what it holds. */
  async bytesFromCache(number = 0): Promise<number> {
    const text = await (await fetch(`${this.host(number).adminUrl}/metrics`)).text()
    return sumMetric(parseMetrics(text), 'pantala_dfdaemon_blob_bytes_total', { from: 'cache' })
  }
}

/** The registry that wants to be spoken to so. */
export function registryFor(auth: Auth, scheme: Scheme): LabHost {
  return `${auth === 'public' ? 'token' : auth}-${scheme === 'TLS' ? 'tls' : 'http'}.lab`
}

/** Every registry there is to be told of, Docker Hub aside. */
export const labRegistries: readonly { readonly name: LabHost; readonly scheme: Scheme }[] = [
  { name: 'anonymous-http.lab', scheme: 'HTTP' },
  { name: 'anonymous-tls.lab', scheme: 'TLS' },
  { name: 'basic-http.lab', scheme: 'HTTP' },
  { name: 'basic-tls.lab', scheme: 'TLS' },
  { name: 'token-http.lab', scheme: 'HTTP' },
  { name: 'token-tls.lab', scheme: 'TLS' },
  { name: 'faulty.lab', scheme: 'HTTP' },
  { name: 'front.lab', scheme: 'TLS' },
]

/** Settings that give each registry of the lab a port of its own. */
export function ownPorts(host: number): HostSettings {
  const ports = labRegistries.map(({ name }) => [ownPort(host, name), name])
  return { proxy: { registries: Object.fromEntries(ports) } }
}

/** `127.0.0.1:PORT` of a registry's own port: below those that the kernel gives out. */
export function ownPort(host: number, registry: string): string {
  const at = labRegistries.findIndex(({ name }) => name === registry)
  return `127.0.0.1:${20_000 + host * 100 + at}`
}

interface RegistryKind {
  readonly name: LabHost
  readonly tls: boolean
  readonly auth?: RegistryAuth
}

function* registryKinds(files: LabFiles): Iterable<RegistryKind> {
  const token = (scheme: string, service: string): RegistryAuth => ({
    kind: 'token',
    realm: `${scheme}://token.lab/token`,
    service,
    roots: files.ca,
  })
  const basic: RegistryAuth = { kind: 'basic', lines: [htpasswdLine] }
  yield { name: 'registry-1.docker.io', tls: true, auth: token('https', 'registry.docker.io') }
  for (const tls of [false, true]) {
    const end = tls ? 'tls' : 'http'
    yield { name: `anonymous-${end}.lab`, tls }
    yield { name: `basic-${end}.lab`, tls, auth: basic }
    yield { name: `token-${end}.lab`, tls, auth: token(tls ? 'https' : 'http', `token-${end}.lab`) }
  }
}

function upstreams(files: LabFiles, options: LabOptions): Readonly<Record<string, unknown>> {
  const names = labRegistries.map(({ name, scheme }) => [
    name,
    scheme === 'TLS' ? { caFile: files.ca } : { insecure: true },
  ])
  const mirrors = options.faultyHub === true ? ['http://faulty.lab'] : []
  const hub = { caFile: files.ca, mirrors }
  const registries = { ...Object.fromEntries(names), 'docker.io': hub }
  return { default: 'docker.io', registries }
}
