// Starts dockerd and containerd for a test, each with root, state, socket and pid file of its own, and leaves nothing behind.
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ServiceProcess } from '../../cli/demo/processes.ts'
import { findCommand } from './packages.ts'

const startDeadlineMs = 30_000
const commandDeadlineMs = 120_000

export interface CommandResult {
  readonly stdout: string
  readonly stderr: string
  readonly ms: number
}

/** Runs a command to its end. @throws Error with its output if it fails or the deadline passes. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: {
    readonly env?: Readonly<Record<string, string>>
    readonly deadlineMs?: number
    readonly signal?: AbortSignal
  } = {},
): Promise<CommandResult> {
  const started = performance.now()
  return new Promise((resolve, reject) => {
    execFile(
      findCommand(command) ?? command,
      args,
      {
        env: { ...process.env, ...options.env },
        timeout: options.deadlineMs ?? commandDeadlineMs,
        killSignal: 'SIGKILL',
        maxBuffer: 16 * 1024 * 1024,
        signal: options.signal,
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ stdout, stderr, ms: performance.now() - started })
        const said = `${stdout}${stderr}`.trim().slice(-4000)
        reject(new Error(`${command} ${args.join(' ')} failed: ${said || error.message}`, { cause: error }))
      },
    )
  })
}

export interface DockerdOptions {
  /** A daemon.json of the test's, in place of one made from the options below. */
  readonly configFile?: string
  readonly registryMirrors?: readonly string[]
  /** Names such as 127.0.0.1:PORT are insecure by themselves. */
  readonly insecureRegistries?: readonly string[]
  /** More environment, such as SSL_CERT_FILE or HTTPS_PROXY. */
  readonly env?: Readonly<Record<string, string>>
}

/** A dockerd that pulls and keeps images; it has no networks and runs no container. */
export class Dockerd {
  readonly #options: DockerdOptions
  #directory = ''
  #process: ServiceProcess | undefined

  constructor(options: DockerdOptions = {}) {
    this.#options = options
  }

  async start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'pantala-dockerd-'))
    const config = this.#options.configFile ?? join(this.#directory, 'daemon.json')
    const settings = {
      'registry-mirrors': this.#options.registryMirrors ?? [],
      'insecure-registries': this.#options.insecureRegistries ?? [],
      'max-concurrent-downloads': 3,
    }
    if (this.#options.configFile === undefined) await writeFile(config, JSON.stringify(settings))
    const at = (name: string) => join(this.#directory, name)
    this.#process = new ServiceProcess({
      name: 'dockerd',
      command: findCommand('dockerd') ?? 'dockerd',
      args: [
        `--config-file=${config}`,
        `--data-root=${at('data')}`,
        `--exec-root=${at('exec')}`,
        `--host=unix://${at('docker.sock')}`,
        `--pidfile=${at('docker.pid')}`,
        '--bridge=none',
        '--iptables=false',
      ],
      // A proxy of the machine must not come between dockerd and the test's own registry.
      env: { ...noProxies, DOCKER_HOST: undefined, ...this.#options.env },
    })
    this.#process.start()
    const probe = () => this.docker('version', '--format', '{{.Server.Version}}').then(() => true)
    await this.#process.waitUntil(probe, { deadlineMs: startDeadlineMs })
  }

  /** Runs the docker command against this daemon, with a configuration of its own (no logins of the machine). */
  docker(...args: readonly string[]): Promise<CommandResult> {
    const env = { DOCKER_CONFIG: join(this.#directory, 'client') }
    return runCommand('docker', ['--host', `unix://${join(this.#directory, 'docker.sock')}`, ...args], {
      env,
    })
  }

  /** Has it read daemon.json again. */
  async reload(): Promise<void> {
    const said = () =>
      (this.#process?.tail() ?? []).filter(line => line.includes('Reloaded configuration')).length
    const before = said()
    this.#process?.signal('SIGHUP')
    await this.#process?.waitUntil(async () => said() > before, { deadlineMs: startDeadlineMs })
  }

  /** From now on these credentials are known (`user:password`, by the registry's key in docker's config.json), and no others. */
  async login(logins: Readonly<Record<string, string>>): Promise<void> {
    const auths = Object.entries(logins).map(([key, text]) => [
      key,
      { auth: Buffer.from(text).toString('base64') },
    ])
    const directory = join(this.#directory, 'client')
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, 'config.json'), JSON.stringify({ auths: Object.fromEntries(auths) }))
  }

  /** Ids of the images held, sorted. */
  async imageIds(): Promise<string[]> {
    const { stdout } = await this.docker('image', 'ls', '--quiet', '--no-trunc')
    return [...new Set(stdout.split('\n').filter(Boolean))].sort()
  }

  /** Removes all images and their layers. */
  async removeImages(): Promise<void> {
    const ids = await this.imageIds()
    if (ids.length > 0) await this.docker('image', 'rm', '--force', ...ids)
  }

  /** The image's id: the digest of its config. */
  async imageId(ref: string): Promise<string> {
    return (await this.docker('image', 'inspect', '--format', '{{.Id}}', ref)).stdout.trim()
  }

  async version(): Promise<string> {
    return (await this.docker('version', '--format', '{{.Server.Version}}')).stdout.trim()
  }

  async stop(): Promise<void> {
    await this.#process?.stop(15_000)
    await removeWithMounts(this.#directory)
  }
}

/** A containerd whose images are pulled with ctr. */
export class Containerd {
  readonly #env: Readonly<Record<string, string>>
  readonly #options: { readonly cri: boolean }
  #directory = ''
  #process: ServiceProcess | undefined

  /** `env`: more environment of the daemon and of ctr, which pulls in its own process. `cri`: it also serves Kubernetes, which ctr then looks over the shoulder. */
  constructor(env: Readonly<Record<string, string>> = {}, options = { cri: false }) {
    this.#env = env
    this.#options = options
  }

  get socket(): string {
    return join(this.#directory, 'containerd.sock')
  }

  async start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'pantala-containerd-'))
    const at = (name: string) => join(this.#directory, name)
    await writeFile(at('config.toml'), containerdConfig(this.#directory, this.#options.cri))
    this.#process = new ServiceProcess({
      name: 'containerd',
      command: findCommand('containerd') ?? 'containerd',
      args: ['--config', at('config.toml')],
      env: { ...noProxies, ...this.#env },
    })
    this.#process.start()
    await this.#process.waitUntil(() => this.ctr('version').then(() => true), { deadlineMs: startDeadlineMs })
  }

  ctr(...args: readonly string[]): Promise<CommandResult> {
    const own = ['--address', this.socket, '--namespace', this.#options.cri ? 'k8s.io' : 'default']
    return runCommand('ctr', [...own, ...args], { env: this.#env })
  }

  /** Pulls through the mirrors that `hostsDirectory` names, straight from the registry without one. */
  pull(ref: string, hostsDirectory?: string, credentials?: string): Promise<CommandResult> {
    const hosts = hostsDirectory === undefined ? ['--plain-http'] : ['--hosts-dir', hostsDirectory]
    const login = credentials === undefined ? [] : ['--user', credentials]
    return this.ctr('images', 'pull', '--snapshotter', 'native', ...hosts, ...login, ref)
  }

  /** Digest of the manifest or index that the name stands for. */
  async imageDigest(ref: string): Promise<string> {
    const { stdout } = await this.ctr('images', 'ls', `name==${ref}`)
    return /sha256:[0-9a-f]{64}/.exec(stdout)?.[0] ?? ''
  }

  /** Removes all images and what only they held. */
  async removeImages(): Promise<void> {
    const names = (await this.ctr('images', 'ls', '-q')).stdout.split('\n').filter(Boolean)
    if (names.length > 0) await this.ctr('images', 'rm', '--sync', ...names)
  }

  /** Digests of all content held, sorted. */
  async content(): Promise<string[]> {
    return (await this.ctr('content', 'ls', '-q')).stdout.trim().split('\n').sort()
  }

  /** Writes a hosts directory in which `registry` is reached through `mirror`; returns its path. */
  async writeHosts(
    registry: string,
    mirror: string,
    server?: string,
    capabilities: readonly string[] = ['pull', 'resolve'],
  ): Promise<string> {
    const hostsDirectory = join(this.#directory, 'certs.d')
    const file = join(hostsDirectory, registry, 'hosts.toml')
    await mkdir(dirname(file), { recursive: true })
    const origin = server === undefined ? '' : `server = "${server}"\n`
    await writeFile(file, `${origin}[host."${mirror}"]\n  capabilities = ${JSON.stringify(capabilities)}\n`)
    return hostsDirectory
  }

  async stop(): Promise<void> {
    await this.#process?.stop(10_000)
    await removeWithMounts(this.#directory)
  }
}

function containerdConfig(directory: string, cri: boolean): string {
  const at = (name: string) => join(directory, name)
  const plugin = 'plugins."io.containerd.grpc.v1.cri"'
  const kubernetes = `[${plugin}]
  stream_server_port = "0"
  [${plugin}.containerd]
    snapshotter = "native"
  [${plugin}.cni]
    conf_dir = "${at('cni')}"
  [${plugin}.registry]
    config_path = "${at('certs.d')}"
`
  return `version = 2
root = "${at('root')}"
state = "${at('state')}"
disabled_plugins = [${cri ? '' : '"io.containerd.grpc.v1.cri", '}"io.containerd.internal.v1.opt"]
[grpc]
  address = "${at('containerd.sock')}"
[ttrpc]
  address = "${at('containerd.sock.ttrpc')}"
${cri ? kubernetes : ''}`
}

/** Environment without proxies, for daemons that must reach loopback and nothing else. */
export const noProxies: Readonly<Record<string, string | undefined>> = Object.fromEntries(
  ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'].flatMap(name => [
    [name, undefined],
    [name.toLowerCase(), undefined],
  ]),
)

/** Unmounts what lies under the directory, innermost first, and removes it. */
export async function removeWithMounts(directory: string): Promise<void> {
  if (directory === '') return
  const mounts = (await readFile('/proc/self/mounts', 'utf8'))
    .split('\n')
    .map(line => line.split(' ')[1] ?? '')
    .filter(path => path.startsWith(`${directory}/`))
    .sort((a, b) => b.length - a.length)
  for (const path of mounts) await runCommand('umount', ['-l', path]).catch(() => {})
  await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
}
