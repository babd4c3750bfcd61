// Reads one layer ahead: while a runtime is given a layer, the next one of its manifest is fetched. Knows no HTTP, and fails in silence.
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { BlobAhead } from '../session/blobs.ts'
import type { AheadOutcome, ProxyComponents } from './proxy-context.ts'

/** Layers fetched at the same time before anyone asks for them; those that are asked for meanwhile do not count any more. */
const LAYERS_AHEAD_MAX = 4

/** A layer that nobody asks for is no longer waited for after this long, in ms; what has landed stays. */
const LAYER_AHEAD_MS_MAX = 600_000

export type LayersAheadComponents = Pick<ProxyComponents, 'manifests' | 'blobs' | 'logger' | 'metrics'> & {
  readonly clock: Clock
}

interface Ahead {
  /** Clients that may ask for it, because they asked for the layer before it. */
  clients: number
  end(outcome: 'joined' | 'left'): void
}

export class LayersAhead {
  readonly #c: LayersAheadComponents
  /** By registry, repository and digest. */
  readonly #running = new Map<string, Ahead>()
  #isStopped = false

  constructor(components: LayersAheadComponents) {
    this.#c = components
  }

  /** A runtime is being given this blob in whole. Never throws; the answer is to be called, once, if it is not sent to its end. */
  follow(source: SourceRef, digest: Digest): () => void {
    // Somebody reads it now: its session goes on without help.
    this.#running.get(nameOf(source, digest))?.end('joined')
    const next = this.#c.manifests.nextLayer(source, digest)
    const ahead = next === undefined ? undefined : this.#find(source, next)
    if (ahead === undefined) return () => {}
    ahead.clients++
    return () => {
      ahead.clients--
      if (ahead.clients === 0) ahead.end('left')
    }
  }

  /** Ends all, and takes no more. */
  stop(): void {
    this.#isStopped = true
    for (const ahead of [...this.#running.values()]) ahead.end('left')
  }

  /** The fetching of this layer, begun if it has to; undefined where there is no place for it. */
  #find(source: SourceRef, digest: Digest): Ahead | undefined {
    const name = nameOf(source, digest)
    const running = this.#running.get(name)
    if (running !== undefined || this.#isStopped || this.#running.size >= LAYERS_AHEAD_MAX) return running
    const stop = new AbortController()
    let outcome: AheadOutcome | undefined
    const forget = (): void => {
      timer.cancel()
      if (this.#running.get(name) === ahead) this.#running.delete(name)
    }
    const ahead: Ahead = {
      clients: 0,
      end: how => {
        outcome ??= how
        forget()
        stop.abort(new PantalaError('DEADLINE_PASSED', { detail: `read ahead: ${how}` }))
      },
    }
    const timer = this.#c.clock.after(LAYER_AHEAD_MS_MAX, () => ahead.end('left'))
    this.#running.set(name, ahead)
    void this.#fetch(source, digest, stop.signal).then(fetched => {
      forget()
      if (fetched !== undefined) this.#c.metrics.countLayerAhead(outcome ?? fetched)
    })
    return ahead
  }

  /** Undefined if nothing was begun. Does not reject. */
  async #fetch(source: SourceRef, digest: Digest, signal: AbortSignal): Promise<AheadOutcome | undefined> {
    const { manifests, blobs, logger } = this.#c
    let blob: BlobAhead | undefined
    try {
      // The right to one layer says nothing of the next: a manifest may list what its repository does not hold.
      const admitted = await manifests.admit(source, digest, false, signal)
      const size = manifests.sizeOf(source, digest)
      blob = await blobs.fetchAhead({ digest: admitted.key, source: admitted.source, size }, signal)
      await blob?.whole(signal)
      return blob && 'whole'
    } catch (error) {
      if (signal.aborted) return blob && 'failed'
      logger.debug({ err: error, digest }, 'the next layer was not read ahead')
      return 'failed'
    } finally {
      blob?.close()
    }
  }
}

function nameOf({ registry, repository }: SourceRef, digest: Digest): string {
  return `${registry}/${repository} ${digest}`
}
