// The metrics of a dfdaemon, under names that tests and dashboards may rely on.
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

/** What is read off other parts when somebody looks. */
export interface DfdaemonReadings {
  storeBytes(): number
  storeStuck(): boolean
  sessions(): number
  supernodeConnected(): boolean
  /** Connections by CONNECT that are open. */
  connects(): { readonly tunnels: number; readonly intercepted: number }
  /** By endpoint of registries that have several: true if it is asked in its turn. */
  upstreamHealth(): ReadonlyMap<string, boolean>
}

export class DfdaemonMetrics {
  readonly registry = new Registry()
  readonly #blobBytes = new Counter({
    name: 'pantala_dfdaemon_blob_bytes_total',
    help: 'Blob bytes that came to this host from the source or from peers, or were served from the cache.',
    labelNames: ['from'],
    registers: [this.registry],
  })
  readonly #uploadBytes = new Counter({
    name: 'pantala_dfdaemon_upload_bytes_total',
    help: 'Piece bytes sent to other hosts.',
    registers: [this.registry],
  })
  readonly #pulls = new Counter({
    name: 'pantala_dfdaemon_pulls_total',
    help: 'Requests of runtimes for a manifest or blob, by result: ok, failed, aborted (the client left) or refused.',
    labelNames: ['result'],
    registers: [this.registry],
  })
  readonly #writes = new Counter({
    name: 'pantala_dfdaemon_writes_total',
    help: 'Pushes, deletions and requests of uploads passed on, by result: ok (the registry answered, whatever it said), failed, aborted (the client left) or refused.',
    labelNames: ['result'],
    registers: [this.registry],
  })
  readonly #pieceRejected = new Counter({
    name: 'pantala_dfdaemon_piece_rejected_total',
    help: 'Pieces that were not taken, by reason: corrupt (a parent sent wrong bytes) or digest (the whole blob was wrong).',
    labelNames: ['reason'],
    registers: [this.registry],
  })
  readonly #refetched = new Counter({
    name: 'pantala_dfdaemon_blobs_refetched_total',
    help: 'Blobs fetched anew while somebody read them, because their bytes were not what the digest says.',
    registers: [this.registry],
  })
  readonly #passedThrough = new Counter({
    name: 'pantala_dfdaemon_passed_through_total',
    help: 'Readers of blobs that the source served straight, by when the store could not: start (it can’t take the blob) or midway (it failed while the blob was read).',
    labelNames: ['from'],
    registers: [this.registry],
  })
  readonly #layersAhead = new Counter({
    name: 'pantala_dfdaemon_layers_ahead_total',
    help: 'Layers whose fetching began before they were asked for, by what came first: whole (all of it was here), joined (a runtime asked for it), left (the client that was to ask for it went away, or took too long) or failed.',
    labelNames: ['outcome'],
    registers: [this.registry],
  })
  readonly #manifestStale = new Counter({
    name: 'pantala_dfdaemon_manifest_stale_total',
    help: 'Tags served from the cache because the source was away.',
    registers: [this.registry],
  })
  readonly #connects = new Counter({
    name: 'pantala_dfdaemon_connects_total',
    help: 'CONNECT requests, by result: intercepted, tunnelled, refused (not allowed, or no such request) or failed (the upstream is away).',
    labelNames: ['result'],
    registers: [this.registry],
  })
  readonly #forwarded = new Counter({
    name: 'pantala_dfdaemon_forwarded_requests_total',
    help: 'Plain requests to other hosts than registries, forwarded as they are.',
    registers: [this.registry],
  })

  constructor(init: { processMetrics: boolean }) {
    if (init.processMetrics) collectDefaultMetrics({ register: this.registry })
    for (const from of ['source', 'peer', 'cache']) this.#blobBytes.inc({ from }, 0)
    for (const result of ['intercepted', 'tunnelled', 'refused', 'failed']) this.#connects.inc({ result }, 0)
    for (const outcome of ['whole', 'joined', 'left', 'failed']) this.#layersAhead.inc({ outcome }, 0)
  }

  /** Adds the gauges that are read when somebody looks. */
  watch(readings: DfdaemonReadings): void {
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers: [this.registry],
        collect() {
          this.set(read())
        },
      })
    }
    gauge('pantala_dfdaemon_store_bytes', 'Bytes of stored pieces.', () => readings.storeBytes())
    gauge('pantala_dfdaemon_store_stuck', '1 while the disk does nothing, with calls under way.', () =>
      readings.storeStuck() ? 1 : 0,
    )
    gauge('pantala_dfdaemon_sessions', 'Blobs being fetched now.', () => readings.sessions())
    gauge('pantala_dfdaemon_tunnels', 'Connections tunnelled now.', () => readings.connects().tunnels)
    gauge(
      'pantala_dfdaemon_intercepted_connections',
      'Connections intercepted now.',
      () => readings.connects().intercepted,
    )
    gauge('pantala_dfdaemon_supernode_connected', '1 while a supernode is connected.', () =>
      readings.supernodeConnected() ? 1 : 0,
    )
    new Gauge({
      name: 'pantala_dfdaemon_upstream_up',
      help: 'For each endpoint of a registry with mirrors: 1 if it is asked in its turn, 0 if it failed and is asked last.',
      labelNames: ['endpoint'],
      registers: [this.registry],
      collect() {
        for (const [endpoint, isUp] of readings.upstreamHealth()) this.set({ endpoint }, isUp ? 1 : 0)
      },
    })
  }

  countWrite(result: 'ok' | 'failed' | 'aborted' | 'refused'): void {
    this.#writes.inc({ result })
  }

  countBlobBytes(from: 'source' | 'peer' | 'cache', bytes: number): void {
    this.#blobBytes.inc({ from }, bytes)
  }

  countUploaded(bytes: number): void {
    this.#uploadBytes.inc(bytes)
  }

  countPull(result: 'ok' | 'failed' | 'aborted' | 'refused'): void {
    this.#pulls.inc({ result })
  }

  countConnect(result: 'intercepted' | 'tunnelled' | 'refused' | 'failed'): void {
    this.#connects.inc({ result })
  }

  countForwarded(): void {
    this.#forwarded.inc()
  }

  countPieceRejected(reason: string): void {
    this.#pieceRejected.inc({ reason })
  }

  countPassedThrough(from: 'start' | 'midway'): void {
    this.#passedThrough.inc({ from })
  }

  countRefetched(): void {
    this.#refetched.inc()
  }

  countLayerAhead(outcome: 'whole' | 'joined' | 'left' | 'failed'): void {
    this.#layersAhead.inc({ outcome })
  }

  countManifestStale(): void {
    this.#manifestStale.inc()
  }
}
