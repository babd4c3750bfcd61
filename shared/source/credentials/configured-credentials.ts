// Credentials that the configuration gives for requests which bring none: read at start, read again when the file changes, never logged.
import { readFileSync, type Stats, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import type { Clock } from '../../clock.ts'
import { PantalaError } from '../../errors.ts'
import type { Logger } from '../../logger.ts'
import type { RegistryConfig } from '../registry-config.ts'
import { canonicalRegistry, type Endpoint } from '../upstreams.ts'
import { type CredentialEntry, CredentialsFault, findCredentials, readCredentials } from './docker-config.ts'

/** The file is looked at again when it is used, but no more often than this, in ms. */
const LOOK_MS = 3_000
const FILE_BYTES_MAX = 1024 * 1024

export interface ConfiguredCredentialsComponents {
  readonly clock: Clock
  readonly logger: Logger
}

interface Configured {
  readonly file: CredentialsFile
  readonly useForClients: boolean
}

export class ConfiguredCredentials {
  /** By canonical registry name. */
  readonly #registries = new Map<string, Configured>()

  /** @throws PantalaError CONFIG_INVALID for a file that cannot be used */
  constructor(
    components: ConfiguredCredentialsComponents,
    registries: Readonly<Record<string, RegistryConfig>>,
  ) {
    const files = new Map<string, CredentialsFile>()
    for (const [name, { credentialsFile, useForClients = false }] of Object.entries(registries)) {
      if (credentialsFile === undefined) continue
      const file = files.get(credentialsFile) ?? new CredentialsFile(components, credentialsFile)
      files.set(credentialsFile, file)
      this.#registries.set(canonicalRegistry(name), { file, useForClients })
    }
  }

  /** True if requests to the registry that bring no credentials may get the configured ones: this service's own always, clients' where said. */
  mayServe(registry: string, isOwn: boolean): boolean {
    const configured = this.#registries.get(canonicalRegistry(registry))
    return configured !== undefined && (isOwn || configured.useForClients)
  }

  /**
   * The Authorization header for an endpoint of the registry; undefined if the file has none for that endpoint's own host, so that a
   * mirror's credentials never go to the registry, nor the registry's to a mirror.
   */
  async find(registry: string, endpoint: Endpoint, repository: string): Promise<string | undefined> {
    const configured = this.#registries.get(canonicalRegistry(registry))
    if (configured === undefined) return undefined
    return findCredentials(await configured.file.entries(), endpoint.origin, repository)
  }
}

class CredentialsFile {
  readonly #components: ConfiguredCredentialsComponents
  readonly #path: string
  #entries: readonly CredentialEntry[]
  #stamp: string
  #lookedAt: number
  #looking: Promise<void> | undefined

  /** Reads the file at once: what is wrong with it is found at start. */
  constructor(components: ConfiguredCredentialsComponents, path: string) {
    this.#components = components
    this.#path = path
    try {
      this.#stamp = stampOf(statSync(path))
      this.#entries = readCredentials(readFileSync(path, 'utf8'))
    } catch (error) {
      throw new PantalaError('CONFIG_INVALID', { detail: `credentialsFile ${path}: ${faultOf(error)}` })
    }
    this.#lookedAt = components.clock.monotonic()
  }

  async entries(): Promise<readonly CredentialEntry[]> {
    if (this.#components.clock.monotonic() - this.#lookedAt >= LOOK_MS) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined
      })
      await this.#looking
    }
    return this.#entries
  }

  async #look(): Promise<void> {
    const { clock, logger } = this.#components
    this.#lookedAt = clock.monotonic()
    const file = this.#path
    let stamp = 'absent'
    try {
      stamp = stampOf(await stat(file))
      if (stamp === this.#stamp) return
      this.#entries = readCredentials(await readFile(file, 'utf8'))
      logger.info({ file }, 'the file of registry credentials changed: read again')
    } catch (error) {
      if (stamp === this.#stamp) return
      // Taken away is taken back; half written is not.
      if (stamp === 'absent') this.#entries = []
      logger.warn({ file, reason: faultOf(error) }, 'the file of registry credentials cannot be read')
    } finally {
      this.#stamp = stamp
    }
  }
}

/** Changes whenever the file does, also where Kubernetes swaps a directory under it. */
function stampOf({ mtimeMs, size, ino }: Stats): string {
  if (size > FILE_BYTES_MAX) throw new CredentialsFault(`larger than ${FILE_BYTES_MAX} bytes`)
  return `${mtimeMs} ${size} ${ino}`
}

function faultOf(error: unknown): string {
  if (error instanceof CredentialsFault) return error.message
  return (error as NodeJS.ErrnoException).code ?? 'unreadable'
}
