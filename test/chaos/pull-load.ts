// Pulls on all hosts, round after round, each of an image nobody had before, every digest checked; and the record of each.
import { pullImage } from '../../cli/pull/pull-image.ts'
import { parseReference } from '../../cli/pull/reference.ts'
import { type HostName, hosts, proxyUrlOf } from './cluster.ts'
import type { Origin, OriginImage } from './origin.ts'
import type { TroubleLog } from './trouble.ts'

export interface PullRecord {
  readonly host: HostName
  readonly image: string
  readonly outcome: 'ok' | 'failed' | 'wrong'
  /** Of the attempt that counted, or from the first of them if it failed. */
  readonly ms: number
  /** Attempts that could not have succeeded, since the own dfdaemon or the registry was down; runtimes make them again, too. */
  readonly excused: number
  /** The own dfdaemon was down or frozen, or the registry down, at some moment of the pull. */
  readonly troubled: boolean
  readonly error?: string
}

/** A pull that takes longer hangs. */
const PULL_MS = 90_000
/** A round begins this long after half of the hosts were done with the one before, if not all are. */
const PATIENCE_MS = 2_000
const RETRY_MS = 250

export class PullLoad {
  readonly #origin: Origin
  readonly #troubles: TroubleLog
  readonly records: PullRecord[] = []
  /** Bytes of images whose rounds began. */
  idealBytes = 0
  readonly #rounds: { readonly image: OriginImage; done: number; readonly change: Turn }[] = []
  #released = new Turn()
  #stopping = false
  #running: Promise<unknown> | undefined
  /** Bytes of the newest round's image that the host that is furthest has. */
  #furthest = 0
  #progress = new Turn()

  constructor(origin: Origin, troubles: TroubleLog) {
    this.#origin = origin
    this.#troubles = troubles
  }

  start(): void {
    this.#running = Promise.all([this.#lead(), ...hosts.map(host => this.#follow(host))])
  }

  /** Begins no more rounds, and waits for those that began. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#released.take()
    await this.#running
  }

  /** Waits until some host has 40 % of an image that began to be pulled after this call; at most 10 s. */
  async midPull(): Promise<void> {
    const until = performance.now() + 10_000
    const before = this.#rounds.length
    while (performance.now() < until) {
      const image = this.#rounds.length > before ? this.#rounds.at(-1)!.image : undefined
      if (image !== undefined && this.#furthest > image.bytes * 0.4) return
      await Promise.race([this.#progress.taken, new Promise(resolve => setTimeout(resolve, 100))])
    }
  }

  async #lead(): Promise<void> {
    while (!this.#stopping) {
      const image = await this.#origin.take()
      if (this.#stopping) return
      const round = { image, done: 0, change: new Turn() }
      this.#furthest = 0
      this.idealBytes += image.bytes
      this.#rounds.push(round)
      this.#released.take()
      this.#released = new Turn()
      const isDone = () => round.done === hosts.length
      while (!isDone() && round.done < hosts.length / 2) await round.change.next()
      const patience = new Promise(resolve => setTimeout(resolve, PATIENCE_MS, 'over'))
      while (!isDone()) if ((await Promise.race([round.change.next(), patience])) === 'over') break
    }
  }

  async #follow(host: HostName): Promise<void> {
    for (let number = 0; ; number++) {
      while (number >= this.#rounds.length) {
        if (this.#stopping) return
        await this.#released.taken
      }
      const round = this.#rounds[number]!
      const isNewest = () => number === this.#rounds.length - 1
      this.records.push(
        await this.pull(host, round.image, bytes => {
          if (!isNewest() || bytes <= this.#furthest) return
          this.#furthest = bytes
          this.#progress.take()
          this.#progress = new Turn()
        }),
      )
      round.done++
      round.change.take()
    }
  }

  /** Pulls once as a runtime would. `strict`: that the registry is down is no excuse. */
  async pull(
    host: HostName,
    image: OriginImage,
    onBytes: (sum: number) => void = () => {},
    strict = false,
  ): Promise<PullRecord> {
    const began = performance.now()
    const about = { host, image: image.reference }
    for (let excused = 0; ; excused++) {
      const started = performance.now()
      const error = await this.#attempt(host, image, onBytes)
      const now = performance.now()
      const own = this.#troubles.was(host, started, now)
      const away = this.#troubles.was('registry', started, now)
      const troubled =
        this.#troubles.was(host, began, now) || (!strict && this.#troubles.was('registry', began, now))
      if (error === undefined) return { ...about, outcome: 'ok', ms: now - started, excused, troubled }
      const text = explain(error)
      const wrong = /do not have its digest|does not have the digest|came with more|has \d+ bytes, not/
      if (wrong.test(text))
        return { ...about, outcome: 'wrong', ms: now - began, excused, troubled, error: text }
      const isExcused = own || (away && !strict)
      if (!isExcused || now - began > PULL_MS)
        return { ...about, outcome: 'failed', ms: now - began, excused, troubled, error: text }
      while (this.#troubles.isNow(host) && performance.now() - began < PULL_MS)
        await new Promise(resolve => setTimeout(resolve, RETRY_MS))
      await new Promise(resolve => setTimeout(resolve, RETRY_MS))
    }
  }

  async #attempt(
    host: HostName,
    image: OriginImage,
    onBytes: (sum: number) => void,
  ): Promise<Error | undefined> {
    let sum = 0
    try {
      await pullImage(
        {
          registryUrl: proxyUrlOf(host),
          image: parseReference(image.reference),
          platform: { os: 'linux', architecture: 'amd64' },
        },
        {
          onBytes: bytes => {
            sum += bytes
            onBytes(sum)
          },
        },
        AbortSignal.timeout(PULL_MS),
      )
      return undefined
    } catch (error) {
      return error as Error
    }
  }
}

/** Something that is waited for and happens, again and again. */
class Turn {
  #resolvers = Promise.withResolvers<void>()

  get taken(): Promise<void> {
    return this.#resolvers.promise
  }

  take(): void {
    this.#resolvers.resolve()
  }

  /** The next time that `take` is called from now. */
  next(): Promise<void> {
    this.#resolvers = Promise.withResolvers<void>()
    return this.#resolvers.promise
  }
}

function explain(error: Error): string {
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : ''
  return `${error.message}${cause}`.replace(/\s+/g, ' ').slice(0, 400)
}
