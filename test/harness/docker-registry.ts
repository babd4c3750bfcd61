// Runs Debian's docker-registry on a free port with storage of its own, keeps its access log, and pushes layouts into it byte for byte.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { blobPath, type OciLayout } from '../../cli/demo/oci-layout.ts'
import { findFreePorts, ServiceProcess } from '../../cli/demo/processes.ts'
import { findCommand } from './packages.ts'

/** One line of the registry's access log. */
export interface AccessLine {
  readonly method: string
  readonly path: string
  readonly status: number
  /** Bytes of body sent. */
  readonly bytes: number
  readonly userAgent: string
}

export interface DockerRegistryOptions {
  /** Command and arguments put before docker-registry, to run it elsewhere (a network namespace). */
  readonly prefix?: readonly string[]
  /** Any free one unless told otherwise. */
  readonly port?: number
  /** Address to listen on, 127.0.0.1 unless told otherwise. */
  readonly host?: string
  /** What clients call it; its address unless told otherwise. */
  readonly name?: string
  /** A directory that several registries may share, so that what one takes in all have; one of its own unless told otherwise. */
  readonly storage?: string
  /** PEM files; plain HTTP without. */
  readonly tls?: { readonly certificate: string; readonly key: string }
  readonly auth?: RegistryAuth
}

export type RegistryAuth =
  /** `lines` of an htpasswd file, with bcrypt. */
  | { readonly kind: 'basic'; readonly lines: readonly string[] }
  /** Tokens of the server at `realm`, signed by a certificate of the authority in `roots` (PEM file). */
  | { readonly kind: 'token'; readonly realm: string; readonly service: string; readonly roots: string }

/** Who must have signed the tokens that a registry takes. */
export const tokenIssuer = 'test token server'

export class DockerRegistry {
  readonly #options: DockerRegistryOptions
  #process: ServiceProcess | undefined
  #directory = ''
  /** `host:port`, or the name it was given. */
  address = ''
  /** Requests since the last `forget`, oldest first; pushes are among them. */
  readonly log: AccessLine[] = []

  constructor(options: DockerRegistryOptions = {}) {
    this.#options = options
  }

  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://${this.address}`
  }

  /** Where it keeps what it holds. */
  get storage(): string {
    return this.#options.storage ?? join(this.#directory, 'storage')
  }

  /** Process id, for its CPU time and memory in /proc. */
  get pid(): number | undefined {
    return this.#process?.pid
  }

  async start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'pantala-docker-registry-'))
    const host = this.#options.host ?? '127.0.0.1'
    const port = this.#options.port ?? (await findFreePorts(1))[0]!
    this.address = this.#options.name ?? `${host}:${port}`
    await mkdir(this.storage, { recursive: true })
    const config = join(this.#directory, 'config.yml')
    await writeFile(config, await this.#config(`${host}:${port}`))
    const prefix = this.#options.prefix ?? []
    const [command, ...args] = [
      ...prefix,
      findCommand('docker-registry') ?? 'docker-registry',
      'serve',
      config,
    ]
    this.#process = new ServiceProcess({
      name: 'docker-registry',
      command: command!,
      args,
      onLine: line => this.#note(line),
    })
    this.#process.start()
    // In a namespace of its own only its first answer tells; here the open port is enough, whatever it wants of its callers.
    const probe =
      this.#options.prefix === undefined
        ? () => canConnect(host, port)
        : async () => (await fetch(`${this.url}/v2/`)).ok
    await this.#process.waitUntil(probe, { deadlineMs: 10_000 })
    this.forget()
  }

  async stop(): Promise<void> {
    await this.#process?.stop(2_000)
    await rm(this.#directory, { recursive: true, force: true })
  }

  /** Stops answering without closing the port, as a hung host does. */
  pause(): void {
    this.#process?.signal('SIGSTOP')
  }

  resume(): void {
    this.#process?.signal('SIGCONT')
  }

  forget(): void {
    this.log.length = 0
  }

  /** Body bytes sent for successful requests of manifests or blobs since the last `forget`. */
  get bytesSent(): number {
    return this.log.filter(line => line.method === 'GET').reduce((sum, line) => sum + line.bytes, 0)
  }

  /** Waits until the log has been quiet for `quietMs`, since a line comes only after its request has ended. */
  async settle(quietMs = 100, deadlineMs = 3_000): Promise<void> {
    const until = performance.now() + deadlineMs
    let seen = -1
    while (seen !== this.log.length && performance.now() < until) {
      seen = this.log.length
      await new Promise(resolve => setTimeout(resolve, quietMs))
    }
  }

  /** Pushes all of a layout under `repository`: blobs, then manifests by digest from the leaves up, then tags. */
  async push(layout: OciLayout, repository: string): Promise<void> {
    for (const blob of layout.blobs.values()) {
      await this.#pushBlob(repository, blob.digest, await readFile(blobPath(layout.directory, blob.digest)))
    }
    // openLayout lists indexes before what they name.
    const manifests = [...layout.manifests.values()].reverse()
    for (const entry of manifests) {
      const references = [...layout.tags].filter(([, digest]) => digest === entry.descriptor.digest)
      for (const reference of [entry.descriptor.digest, ...references.map(([tag]) => tag)]) {
        const answer = await fetch(`${this.url}/v2/${repository}/manifests/${reference}`, {
          method: 'PUT',
          headers: { 'content-type': entry.descriptor.mediaType },
          body: new Uint8Array(entry.body),
        })
        await expectStatus(answer, 201, `push of manifest ${reference}`)
      }
    }
    await this.settle()
    this.forget()
  }

  /** JSON is YAML. */
  async #config(address: string): Promise<string> {
    const { tls, auth } = this.#options
    const http = tls === undefined ? {} : { tls: { certificate: tls.certificate, key: tls.key } }
    return JSON.stringify({
      version: '0.1',
      log: { level: 'warn', accesslog: { disabled: false } },
      storage: { filesystem: { rootdirectory: this.storage }, delete: { enabled: true } },
      http: { addr: address, headers: { 'X-Content-Type-Options': ['nosniff'] }, ...http },
      ...(auth === undefined ? {} : { auth: await this.#authConfig(auth) }),
    })
  }

  async #authConfig(auth: RegistryAuth): Promise<unknown> {
    if (auth.kind === 'token') {
      const { realm, service, roots } = auth
      return { token: { realm, service, issuer: tokenIssuer, rootcertbundle: roots } }
    }
    const path = join(this.#directory, 'htpasswd')
    await writeFile(path, `${auth.lines.join('\n')}\n`)
    return { htpasswd: { realm: 'test registry', path } }
  }

  async #pushBlob(repository: string, digest: string, bytes: Uint8Array): Promise<void> {
    const opened = await fetch(`${this.url}/v2/${repository}/blobs/uploads/`, { method: 'POST' })
    await expectStatus(opened, 202, 'start of an upload')
    const location = new URL(opened.headers.get('location') ?? '', this.url)
    location.searchParams.set('digest', digest)
    const body = new Uint8Array(bytes)
    const headers = { 'content-type': 'application/octet-stream' }
    await expectStatus(await fetch(location, { method: 'PUT', headers, body }), 201, `push of blob ${digest}`)
  }

  #note(line: string): void {
    // Apache's combined format; the registry's own messages have another shape.
    const match = /^\S+ - \S+ \[[^\]]+\] "(\S+) (\S+) [^"]*" (\d+) (\d+) "[^"]*" "(.*)"$/.exec(line)
    if (match === null) return
    const [, method, path, status, bytes, userAgent] = match as unknown as string[]
    this.log.push({
      method: method!,
      path: path!,
      status: Number(status),
      bytes: Number(bytes),
      userAgent: userAgent!,
    })
  }
}

function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host, port })
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

async function expectStatus(answer: Response, status: number, what: string): Promise<void> {
  if (answer.status === status) {
    await answer.body?.cancel()
    return
  }
  throw new Error(
    `${what}: docker-registry answered ${answer.status}, ${(await answer.text()).slice(0, 500)}`,
  )
}
