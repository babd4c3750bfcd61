// A dockerd of the test's own, with networks and containers, and docker-compose against it. Everything it makes lies in the namespaces that
// this process is in (main.ts makes them), so that the machine's own network and daemons are not touched.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ServiceProcess } from '../../cli/demo/processes.ts'
import { type CommandResult, noProxies, runCommand } from '../harness/container-engines.ts'
import { findCommand } from '../harness/packages.ts'

const startDeadlineMs = 30_000
/** How long dockerd may take to stop what runs in it, in ms. */
const stopGraceMs = 20_000

export interface EngineOptions {
  /** Empty, and the test's own. */
  readonly directory: string
  /** Absolute; containers are accounted for under it. */
  readonly cgroup: string
}

/** What a compose call adds to its project. */
export interface ComposeProject {
  readonly name: string
  readonly files: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

export class Engine {
  readonly #options: EngineOptions
  #process: ServiceProcess | undefined

  constructor(options: EngineOptions) {
    this.#options = options
  }

  /** @throws Error with dockerd's last words if it does not come up */
  async start(): Promise<void> {
    const { cgroup, directory } = this.#options
    await mkdir(directory, { recursive: true })
    await writeFile(this.#at('daemon.json'), '{}')
    await runCommand('ip', ['link', 'set', 'lo', 'up'])
    this.#process = new ServiceProcess({
      name: 'dockerd',
      command: findCommand('dockerd') ?? 'dockerd',
      args: [
        `--config-file=${this.#at('daemon.json')}`,
        `--data-root=${this.#at('data')}`,
        `--exec-root=${this.#at('exec')}`,
        `--host=unix://${this.#at('docker.sock')}`,
        `--pidfile=${this.#at('docker.pid')}`,
        `--cgroup-parent=${cgroup}`,
      ],
      env: { ...noProxies, DOCKER_HOST: undefined },
    })
    this.#process.start()
    const probe = () => this.docker('version').then(() => true)
    await this.#process.waitUntil(probe, { deadlineMs: startDeadlineMs })
  }

  /** Runs docker against this daemon. @throws Error with its output if it fails */
  docker(...args: readonly string[]): Promise<CommandResult> {
    return runCommand('docker', args, { env: this.env })
  }

  /** Runs docker-compose against this daemon. @throws Error with its output if it fails */
  compose(project: ComposeProject, ...args: readonly string[]): Promise<CommandResult> {
    const files = project.files.flatMap(file => ['--file', file])
    return runCommand('docker-compose', ['--project-name', project.name, ...files, ...args], {
      env: { ...this.env, ...project.env },
    })
  }

  /** Environment in which docker and docker-compose reach this daemon. */
  get env(): Record<string, string> {
    return {
      DOCKER_HOST: `unix://${this.#at('docker.sock')}`,
      DOCKER_CONFIG: this.#at('client'),
      // The classic builder: the other one needs a plugin.
      DOCKER_BUILDKIT: '0',
      COMPOSE_DOCKER_CLI_BUILD: '0',
    }
  }

  async stop(): Promise<void> {
    await this.#process?.stop(stopGraceMs)
  }

  #at(name: string): string {
    return join(this.#options.directory, name)
  }
}
