// The cluster of compose/ as the chaos tests run it: started from images made on the spot, broken and mended by name.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { runCommand } from '../harness/container-engines.ts'
import type { ComposeProject, Engine } from './engine.ts'
import { images } from './images.ts'

const root = join(import.meta.dirname, '../..')

export type NetworkName = 'cluster' | 'registry' | 'runtime'

const networkNumber: Readonly<Record<NetworkName, number>> = { cluster: 1, registry: 2, runtime: 3 }

export const supernodes = ['supernode-1', 'supernode-2', 'supernode-3'] as const
export const hosts = ['dfdaemon-1', 'dfdaemon-2', 'dfdaemon-3', 'dfdaemon-4'] as const
export type HostName = (typeof hosts)[number]
export type ServiceName = HostName | (typeof supernodes)[number] | 'registry' | 'front'

/** Of the disk of dfdaemon-4: room for a few images. */
const SMALL_DISK_BYTES = 96 * 1024 * 1024

/** What references begin with; the front before the registry. */
export const registryName = '10.89.2.201:5000'
/** The registry itself, for pushes. */
export const registryUrl = 'http://10.89.2.200:5000'
export const frontUrl = 'http://10.89.2.201:5001'

const lastByte: Readonly<Record<ServiceName, number>> = {
  'supernode-1': 10,
  'supernode-2': 20,
  'supernode-3': 30,
  'dfdaemon-1': 101,
  'dfdaemon-2': 102,
  'dfdaemon-3': 103,
  'dfdaemon-4': 104,
  registry: 200,
  front: 201,
}

export function addressOf(service: ServiceName, network: NetworkName): string {
  return `10.89.${networkNumber[network]}.${lastByte[service]}`
}

/** Where a runtime on the host would pull. */
export function proxyUrlOf(host: HostName): string {
  return `http://${addressOf(host, 'runtime')}:65001`
}

export class Cluster {
  readonly #engine: Engine
  readonly #project: ComposeProject
  readonly smallDisk: string

  constructor(engine: Engine, directory: string) {
    this.#engine = engine
    this.smallDisk = join(directory, 'small-disk')
    this.#project = {
      name: 'chaos',
      files: [join(root, 'compose/docker-compose.yml'), join(import.meta.dirname, 'docker-compose.yml')],
      env: {
        PANTALA_IMAGE: images.pantala,
        PANTALA_REGISTRY_IMAGE: images.registry,
        PANTALA_REGISTRY: registryName,
        CHAOS_SMALL_DISK: this.smallDisk,
      },
    }
  }

  /** All supernodes, prepared by the script that users run, then all the rest. Resolves when every host is ready. */
  async start(): Promise<void> {
    await mkdir(this.smallDisk, { recursive: true })
    const options = `size=${SMALL_DISK_BYTES},mode=0755,uid=65532,gid=65532`
    await runCommand('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', this.smallDisk])
    const env = await this.#prepare()
    Object.assign(this.#project.env, env)
    await this.#engine.compose(this.#project, 'up', '--detach', '--no-build')
    for (const service of [...supernodes, ...hosts]) await this.waitUntilReady(service)
  }

  /** Runs compose/prepare, which writes its result to where it is told, so that the checkout stays as it is. */
  async #prepare(): Promise<Record<string, string>> {
    const files = this.#project.files.map(file => `--file ${file}`).join(' ')
    const { stdout } = await runCommand(
      join(root, 'compose/prepare'),
      ['--print', String(supernodes.length)],
      {
        env: {
          ...this.#engine.env,
          ...this.#project.env,
          COMPOSE: `docker-compose --project-name ${this.#project.name} ${files}`,
        },
      },
    )
    const lines = stdout.split('\n').filter(line => line.includes('='))
    return Object.fromEntries(
      lines.map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
  }

  /** Removes containers, networks and volumes. */
  async stop(): Promise<void> {
    await this.#engine.compose(this.#project, 'down', '--volumes', '--timeout', '1')
    await runCommand('umount', ['-l', this.smallDisk])
  }

  /** kill -9 of all processes of the service. */
  async kill(service: ServiceName): Promise<void> {
    await this.#engine.docker('kill', '--signal', 'KILL', containerOf(service))
  }

  async startAgain(service: ServiceName): Promise<void> {
    await this.#engine.docker('start', containerOf(service))
  }

  /** Asks it to stop, and starts it anew. */
  async restart(service: ServiceName): Promise<void> {
    await this.#engine.docker('restart', '--time', '15', containerOf(service))
  }

  /** Freezes all processes of the service: connections stay, nothing is answered. */
  async pause(service: ServiceName): Promise<void> {
    await this.#engine.docker('pause', containerOf(service))
  }

  async unpause(service: ServiceName): Promise<void> {
    await this.#engine.docker('unpause', containerOf(service))
  }

  async disconnect(service: ServiceName, network: NetworkName): Promise<void> {
    await this.#engine.docker('network', 'disconnect', `chaos_${network}`, containerOf(service))
  }

  async connect(service: ServiceName, network: NetworkName): Promise<void> {
    const address = addressOf(service, network)
    await this.#engine.docker('network', 'connect', '--ip', address, `chaos_${network}`, containerOf(service))
  }

  /** Kills the seed that the supernode brings, which is a process beside it. */
  async killSeed(supernode: ServiceName): Promise<void> {
    const { stdout } = await this.#engine.docker('top', containerOf(supernode), '-eo', 'pid,args')
    const line = stdout.split('\n').find(text => text.includes('dfdaemon --config'))
    const pid = Number(line?.trim().split(/\s+/)[0])
    // One that is just being started anew is not there to be killed.
    if (Number.isInteger(pid) && pid > 1) process.kill(pid, 'SIGKILL')
  }

  /** Drops every packet between two groups on the cluster's network, in both directions. */
  async part(some: readonly ServiceName[], others: readonly ServiceName[]): Promise<void> {
    for (const rule of partRules(some, others))
      await runCommand('iptables', ['--wait', '-I', 'DOCKER-USER', ...rule])
  }

  async rejoin(some: readonly ServiceName[], others: readonly ServiceName[]): Promise<void> {
    for (const rule of partRules(some, others))
      await runCommand('iptables', ['--wait', '-D', 'DOCKER-USER', ...rule])
  }

  /** Starts dfdaemon-3 anew, with what it has on disk, as one that lies to its children or as an honest one. */
  async setLying(lies: boolean): Promise<void> {
    const image = lies ? images.corrupting : images.pantala
    const project = { ...this.#project, env: { ...this.#project.env, CHAOS_IMAGE_3: image } }
    await this.#engine.compose(project, 'up', '--detach', '--no-build', '--no-deps', 'dfdaemon-3')
  }

  /** All lines that a service logged. */
  async logs(service: ServiceName): Promise<string> {
    const { stdout, stderr } = await this.#engine.docker('logs', containerOf(service))
    return stdout + stderr
  }

  /** @throws Error with the service's last lines if it is not ready in time */
  async waitUntilReady(service: ServiceName, deadlineMs = 30_000): Promise<void> {
    const until = performance.now() + deadlineMs
    while (!(await this.isReady(service))) {
      if (performance.now() > until) {
        const tail = (await this.logs(service)).split('\n').slice(-20).join('\n')
        throw new Error(`${service} was not ready in ${deadlineMs} ms:\n${tail}`)
      }
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }

  async isReady(service: ServiceName): Promise<boolean> {
    const port = service.startsWith('supernode') ? 8002 : 65003
    const url = `http://${addressOf(service, 'runtime')}:${port}/readyz`
    return fetch(url, { signal: AbortSignal.timeout(1000) }).then(
      answer => answer.ok,
      () => false,
    )
  }
}

function containerOf(service: ServiceName): string {
  return `chaos_${service}_1`
}

function partRules(some: readonly ServiceName[], others: readonly ServiceName[]): string[][] {
  const drop = (from: ServiceName, to: ServiceName) => [
    '--source',
    addressOf(from, 'cluster'),
    '--destination',
    addressOf(to, 'cluster'),
    '--jump',
    'DROP',
  ]
  return some.flatMap(one => others.flatMap(other => [drop(one, other), drop(other, one)]))
}
