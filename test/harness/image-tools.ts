// podman, buildah and skopeo, which share one library for registries: each with storage, registries.conf and credentials of the test's own.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { digestOf } from '../../shared/digest.ts'
import { noProxies, runCommand } from './container-engines.ts'

/** One registry as registries.conf has it. */
export interface RegistryEntry {
  readonly location: string
  /** Plain HTTP will do. */
  readonly insecure: boolean
  /** `host:port` or `host:port/path`, spoken to over plain HTTP. */
  readonly mirror?: string
}

export interface ToolOptions {
  /** Taken over by the tool; removed by who made it, with `removeWithMounts`. */
  readonly directory: string
  readonly registries: readonly RegistryEntry[]
  readonly env?: Readonly<Record<string, string>>
}

/** Credentials by `host:port`, `user:password`. */
export type Logins = Readonly<Record<string, string>>

export class ImageTool {
  readonly #command: 'podman' | 'buildah' | 'skopeo'
  readonly #options: ToolOptions

  private constructor(command: 'podman' | 'buildah' | 'skopeo', options: ToolOptions) {
    this.#command = command
    this.#options = options
  }

  static async make(command: 'podman' | 'buildah' | 'skopeo', options: ToolOptions): Promise<ImageTool> {
    const tool = new ImageTool(command, options)
    await writeFile(tool.#at('registries.conf'), options.registries.map(renderEntry).join('\n'))
    await mkdir(tool.#at('tmp'))
    await tool.login({})
    return tool
  }

  /** From now on these credentials are known, and no others. */
  async login(logins: Logins): Promise<void> {
    const auths = Object.entries(logins).map(([key, text]) => [
      key,
      { auth: Buffer.from(text).toString('base64') },
    ])
    await writeFile(this.#at('auth.json'), JSON.stringify({ auths: Object.fromEntries(auths) }))
  }

  /** Runs the tool with its own storage; returns what it printed. */
  async run(...args: readonly string[]): Promise<string> {
    const own = ['--root', this.#at('root'), '--runroot', this.#at('r'), '--storage-driver', 'vfs']
    const temporary = this.#command === 'podman' ? ['--tmpdir', this.#at('tmp')] : []
    const env = {
      ...noProxies,
      CONTAINERS_REGISTRIES_CONF: this.#at('registries.conf'),
      REGISTRY_AUTH_FILE: this.#at('auth.json'),
      ...this.#options.env,
    } as Record<string, string>
    // skopeo does not look at the environment for it.
    const before =
      this.#command === 'skopeo' ? ['--registries-conf', this.#at('registries.conf')] : [...own, ...temporary]
    return (await runCommand(this.#command, [...before, ...args], { env })).stdout.trim()
  }

  /** Ids of the images held; skopeo holds none. */
  async imageIds(): Promise<string[]> {
    const ids = await this.run('images', '--quiet', '--no-trunc')
    return ids.split('\n').filter(Boolean)
  }

  /** skopeo: copies to a directory of that name, in place of what was there. */
  async copy(from: string, name: string, ...options: readonly string[]): Promise<void> {
    await this.removeCopy(name)
    await this.run('copy', '--override-arch=amd64', ...options, `docker://${from}`, `dir:${this.#at(name)}`)
  }

  /** Digests of all that a copy holds, sorted; none if there is no copy. */
  async digestsOf(name: string): Promise<string[]> {
    const names = await readdir(this.#at(name)).catch(() => [])
    const files = names.filter(file => file !== 'version').map(file => join(this.#at(name), file))
    return (await Promise.all(files.map(async file => digestOf(await readFile(file))))).sort()
  }

  removeCopy(name: string): Promise<void> {
    return rm(this.#at(name), { recursive: true, force: true })
  }

  #at(name: string): string {
    return join(this.#options.directory, name)
  }
}

function renderEntry({ location, insecure, mirror }: RegistryEntry): string {
  const own = `[[registry]]\nlocation = "${location}"\ninsecure = ${insecure}\n`
  return mirror === undefined ? own : `${own}[[registry.mirror]]\nlocation = "${mirror}"\ninsecure = true\n`
}
