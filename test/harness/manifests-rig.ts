// Manifests with a scripted source, a clock that is turned by hand, and everything they log or keep within reach.
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Level } from 'level'
import { Manifests } from '../../dfdaemon/manifest/manifests.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { MemoryScheduler } from '../doubles/memory-scheduler.ts'
import { ScriptedClient } from './scripted-client.ts'
import { recordingLogger } from './source-client.ts'

/** The machine's clock, put forward by `skip`. */
export class SkippingClock implements Clock {
  #skippedMs = 0

  skip(ms: number): void {
    this.#skippedMs += ms
  }

  now(): number {
    return systemClock.now() + this.#skippedMs
  }

  monotonic(): number {
    return systemClock.monotonic() + this.#skippedMs
  }

  after(delayMs: number, task: () => void) {
    return systemClock.after(delayMs, task)
  }
}

export class ManifestsRig {
  readonly client = new ScriptedClient()
  readonly scheduler = new MemoryScheduler()
  readonly clock = new SkippingClock()
  readonly signal = AbortSignal.timeout(20_000)
  readonly lines: string[]
  staleCount = 0
  /** Taken by the next start. */
  readonly access = { freshMs: 60_000, awayMs: 3_600_000, hasOwnCredentials: () => false }
  manifests: Manifests
  readonly #directory: string
  readonly #make: () => Manifests

  private constructor(directory: string, cacheBytesMax: number) {
    this.#directory = directory
    const { logger, lines } = recordingLogger()
    this.lines = lines
    this.scheduler.connected = false
    const metrics = { countManifestStale: () => void this.staleCount++ }
    const { scheduler, client, clock } = this
    this.#make = () =>
      new Manifests(
        { scheduler, client, clock, logger, metrics },
        { dataDir: directory, tagFreshMs: 5_000, cacheBytesMax, access: this.access },
      )
    this.manifests = this.#make()
  }

  /** Runs a test with a rig of its own and cleans up after it. */
  static async run(test: (rig: ManifestsRig) => Promise<void>, cacheBytesMax = 1024 * 1024): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'pantala-manifests-'))
    const rig = new ManifestsRig(directory, cacheBytesMax)
    try {
      await rig.manifests.start()
      await test(rig)
    } finally {
      await rig.manifests.stop()
      await rm(directory, { recursive: true })
    }
  }

  get(reference: string, authorization?: string, accept: readonly string[] = []) {
    return this.manifests.get({ source: this.source(authorization), reference, accept }, this.signal)
  }

  /** What is known without a question must be what comes of asking. */
  async admit(digest: Digest, authorization?: string) {
    const source = this.source(authorization)
    const known = this.manifests.admitKnown(source, digest)
    const admitted = await this.manifests.admit(source, digest, false, this.signal)
    assert.deepEqual(known ?? admitted, admitted)
    return admitted
  }

  /** What `admit` may be spared for: the key, if it is known that the caller may have the blob. */
  known(digest: Digest, authorization?: string) {
    return this.manifests.admitKnown(this.source(authorization), digest)?.key
  }

  sizeOf(digest: Digest) {
    return this.manifests.sizeOf(this.source(), digest)
  }

  source(authorization?: string): SourceRef {
    return {
      registry: 'reg.lab',
      repository: 'a/b',
      ...(authorization === undefined ? {} : { authorization }),
    }
  }

  /** Ends the process, as it were, and starts the next on the same directory. */
  async restart(): Promise<void> {
    await this.manifests.stop()
    this.manifests = this.#make()
    await this.manifests.start()
  }

  /** Flips a bit of a body on disk, between two lives of the process. */
  async corruptBody(digest: string): Promise<void> {
    await this.manifests.stop()
    const database = new Level<string, Uint8Array>(this.#directory, { valueEncoding: 'view' })
    const body = await database.get(`b ${digest}`)
    body[0]! ^= 1
    await database.put(`b ${digest}`, body)
    await database.close()
    this.manifests = this.#make()
    await this.manifests.start()
  }

  /** All bytes on disk. Stops the manifests: the files are whole then. */
  async readDisk(): Promise<string> {
    await this.manifests.stop()
    const files = await readdir(this.#directory)
    const contents = await Promise.all(files.map(file => readFile(join(this.#directory, file), 'latin1')))
    await this.manifests.start()
    return contents.join('\n')
  }
}
