// Finds and tells holders of blobs through the cluster's own DHT (kad-dht on /pantala/kad/1.0.0): opened only while no supernode answers, since
// a record costs a tenth of a second of CPU. Only admitted hosts are answered.
import { createHash } from 'node:crypto'
import type { KadDHT } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Candidate, HostId } from '../../shared/protocol/messages.ts'
import { realmOf, type TaskKey } from '../../shared/task-key.ts'
import { BoundedDatastore } from './bounded-datastore.ts'
import { guardComponents, type KadComponents } from './kad-guard.ts'

export const KAD_PROTOCOL = '/pantala/kad/1.0.0'

/** Provider records kept for others. */
const RECORDS_MAX = 4_096
/** Blobs this host tells of, the newest wish first; and the pause between two, in ms. */
const PROVIDED_MAX = 64
const PROVIDE_PAUSE_MS = 1_000
/** A record is told again after this long, in ms; it is good for twice that. */
const PROVIDE_AGAIN_MS = 10 * 60_000
const PROVIDE_TIMEOUT_MS = 10_000
/** Lookups at the same time; more find nothing. */
const LOOKUPS_MAX = 16
const LOOKUP_TIMEOUT_MS = 5_000
/** Holders looked for. */
const HOLDERS_MAX = 16
const RAW_CODEC = 0x55
const SHA256_CODE = 0x12
const SHA256_BYTES = 32

export interface KadDirectoryComponents {
  readonly libp2p: KadComponents
  readonly clock: Clock
  readonly logger: Logger
  /** True for hosts that may ask; settles within a moment, for those whose ticket is on its way. */
  admits(host: HostId): Promise<boolean>
  /** Shows this host's ticket to one that is about to be asked. */
  greet(host: HostId): Promise<void>
}

export class KadDirectory {
  readonly #c: KadDirectoryComponents
  /** Blobs to tell of, by when they were told last (monotonic ms); oldest wish first. */
  readonly #wishes = new Map<Digest, number>()
  #opening: Promise<KadDHT> | undefined
  #closing: Promise<void> = Promise.resolve()
  #over: AbortController | undefined
  #next: Timer | undefined
  #lookups = 0

  constructor(components: KadDirectoryComponents) {
    this.#c = components
  }

  get isOpen(): boolean {
    return this.#opening !== undefined
  }

  /** Joins the DHT by way of these hosts; does nothing if it has. */
  open(neighbours: readonly Candidate[]): void {
    if (this.#opening !== undefined) {
      void this.#opening.then(dht => this.#meet(dht, neighbours)).catch(() => {})
      return
    }
    this.#over = new AbortController()
    const opening = this.#closing.then(() => this.#open(neighbours))
    this.#opening = opening
    opening.then(
      () => this.#provideLater(),
      error => {
        this.#c.logger.warn({ err: error }, 'the DHT could not be joined')
        if (this.#opening === opening) this.#opening = undefined
      },
    )
  }

  /** Leaves it; the next `open` starts afresh. */
  close(): Promise<void> {
    const opening = this.#opening
    this.#opening = undefined
    this.#next?.cancel()
    this.#next = undefined
    this.#over?.abort()
    if (opening !== undefined)
      this.#closing = opening.then(async dht => {
        const { stop } = await import('@libp2p/interface')
        await stop(dht)
        await this.#c.libp2p.registrar.unhandle(KAD_PROTOCOL)
      }, ignore)
    return this.#closing
  }

  /** Wishes that others find this host when they look for the blob. The newest PROVIDED_MAX wishes are kept. */
  provide(digest: Digest): void {
    const told = this.#wishes.get(digest)
    this.#wishes.delete(digest)
    this.#wishes.set(digest, told ?? Number.NEGATIVE_INFINITY)
    if (this.#wishes.size > PROVIDED_MAX) this.#wishes.delete(this.#wishes.keys().next().value!)
    this.#provideLater()
  }

  /** Tells holders as they are found, until enough are, the time is over or the signal aborts; settles then, and never rejects. Finds nothing while closed. */
  async find(
    digest: Digest,
    found: (candidates: readonly Candidate[]) => void,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#opening === undefined || this.#lookups >= LOOKUPS_MAX || signal.aborted) return
    this.#lookups++
    try {
      await this.#find(this.#opening, digest, found, signal)
    } catch (error) {
      if (!signal.aborted) this.#c.logger.debug({ digest, err: error }, 'no holder found through the DHT')
    } finally {
      this.#lookups--
    }
  }

  async #find(
    opening: Promise<KadDHT>,
    digest: Digest,
    found: (candidates: readonly Candidate[]) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const dht = await opening
    const deadline = AbortSignal.any([signal, this.#over!.signal, AbortSignal.timeout(LOOKUP_TIMEOUT_MS)])
    let holders = 0
    for await (const event of dht.findProviders(cidOf(digest), { signal: deadline })) {
      if (event.name !== 'PROVIDER') continue
      const candidates = event.providers.map(({ id, multiaddrs }) => ({
        host: id.toString(),
        addresses: multiaddrs.slice(0, 8).map(String),
        seed: false,
      }))
      if (!signal.aborted) found(candidates)
      holders += candidates.length
      if (holders >= HOLDERS_MAX) return
    }
  }

  async #open(neighbours: readonly Candidate[]): Promise<KadDHT> {
    // Loaded only now: it takes memory that a host whose supernode answers can do without.
    const [{ kadDHT, passthroughMapper }, { start }] = await Promise.all([
      import('@libp2p/kad-dht'),
      import('@libp2p/interface'),
    ])
    const components = guardComponents(this.#c.libp2p, {
      protocol: KAD_PROTOCOL,
      datastore: new BoundedDatastore(RECORDS_MAX),
      admits: host => this.#c.admits(host),
      greet: host => this.#c.greet(host),
    })
    const dht = kadDHT({
      protocol: KAD_PROTOCOL,
      clientMode: false,
      peerInfoMapper: passthroughMapper,
      allowQueryWithZeroPeers: true,
      reprovide: { validity: 2 * PROVIDE_AGAIN_MS, interval: PROVIDE_AGAIN_MS },
    })(components) as KadDHT
    await start(dht)
    this.#c.logger.info({ neighbours: neighbours.length }, 'joined the DHT')
    await this.#meet(dht, neighbours)
    return dht
  }

  async #meet(dht: KadDHT, neighbours: readonly Candidate[]): Promise<void> {
    const meetings = neighbours.map(async ({ host, addresses }) => {
      const id = peerIdFromString(host)
      const multiaddrs = addresses.map(address => multiaddr(address).decapsulate('/p2p'))
      await this.#c.libp2p.peerStore.merge(id, { multiaddrs })
      await (dht as unknown as { onPeerConnect(peer: object): Promise<void> }).onPeerConnect({
        id,
        multiaddrs,
      })
    })
    await Promise.allSettled(meetings)
  }

  /** One record at a time, with a pause after each. */
  #provideLater(): void {
    if (this.#next !== undefined || this.#opening === undefined) return
    const opening = this.#opening
    this.#next = this.#c.clock.after(PROVIDE_PAUSE_MS, () => {
      const now = this.#c.clock.monotonic()
      const due = [...this.#wishes].findLast(([, told]) => now - told >= PROVIDE_AGAIN_MS)
      const done = (): void => {
        this.#next = undefined
        if (this.#wishes.size > 0) this.#provideLater()
      }
      if (due === undefined) {
        // Looked at again when the next record grows old; a new wish comes by itself.
        this.#next = undefined
        return
      }
      this.#wishes.set(due[0], now)
      this.#provide(opening, due[0]).catch(ignore).then(done, done)
    })
  }

  async #provide(opening: Promise<KadDHT>, digest: Digest): Promise<void> {
    const dht = await opening
    const signal = AbortSignal.any([this.#over!.signal, AbortSignal.timeout(PROVIDE_TIMEOUT_MS)])
    for await (const _ of dht.provide(cidOf(digest), { signal }));
    this.#c.logger.debug({ digest }, 'told the DHT of a blob')
  }
}

/** The content identifier of a blob, of raw bytes. The DHT reads keys as CIDs of version 0, which have room for a SHA-256 only: longer digests are hashed, and so are tasks of one registry. */
function cidOf(task: TaskKey): CID {
  const bytes = realmOf(task) === undefined ? Buffer.from(task.slice(7), 'hex') : Buffer.from(task)
  const key = bytes.byteLength === SHA256_BYTES ? bytes : createHash('sha256').update(bytes).digest()
  return CID.createV1(RAW_CODEC, createMultihash(SHA256_CODE, key))
}

function ignore(): void {}
