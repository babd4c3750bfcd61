// Fetches pieces from other hosts over libp2p: dials, keeps one stream per host for all tasks, closes it when idle, and does not
// run after hosts that failed a moment ago.
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Clock, Timer } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import { type ErrorCode, isPantalaError, PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Geometry } from '../../shared/piece.ts'
import type { Candidate, HostId } from '../../shared/protocol/messages.ts'
import { PIECE_PROTOCOL } from '../../shared/protocol/piece-frames.ts'
import { withPeerId } from '../../shared/transport/addresses.ts'
import { dialAnswering } from '../../shared/transport/dial-answering.ts'
import { DialDeadline } from './dial-deadline.ts'
import { PeerStream } from './peer-stream.ts'
import type { LinkListener, ParentLink, PieceFetcher } from './piece-fetcher.ts'

export interface PeerFetcherComponents {
  readonly node: Pick<Libp2p, 'dial' | 'getConnections'>
  readonly clock: Clock
  readonly logger: Logger
  /** What parents are shown; undefined before the supernode's first welcome. */
  readonly ticket: () => Uint8Array | undefined
}

export interface PeerFetcherInit {
  /** With something awaited, a parent that sends no byte for this long has stalled. */
  readonly silentMs?: number
  /** One that sends none for this long is given up. */
  readonly lostMs?: number
  /** Until a host takes the connection. */
  readonly dialTimeoutMs?: number
  /** Dial, handshakes and protocol choice together, of a host that took the connection: on a crowded line, or of a busy host, they take long. */
  readonly openTimeoutMs?: number
  /** A connection there is on which no stream opens within this is passed over for a new one. */
  readonly reuseMs?: number
  /** A stream without links is closed after this long. */
  readonly idleMs?: number
  /** After a failure a host is left alone for this long, doubled with each further one. */
  readonly retryMs?: number
  readonly retryMsMax?: number
  /** Hosts remembered for their failures. */
  readonly hostsMax?: number
}

const DEFAULTS = {
  silentMs: 1_500,
  lostMs: 10_000,
  dialTimeoutMs: 3_000,
  openTimeoutMs: 8_000,
  reuseMs: 1_000,
  idleMs: 30_000,
  retryMs: 500,
  retryMsMax: 30_000,
  hostsMax: 2_048,
} as const

const ADDRESSES_MAX = 8
const noTicket = new Uint8Array(0)

interface Host {
  opening: Promise<PeerStream> | undefined
  stream: PeerStream | undefined
  idle: Timer | undefined
  failures: number
  retryAt: number
  /** Where it was not reached. */
  failedAddresses: string | undefined
  failedAs: ErrorCode
  /** The connection on which the host fell silent; not used again. */
  suspect: Connection | undefined
}

export class PeerFetcher implements PieceFetcher {
  readonly #components: PeerFetcherComponents
  readonly #init: Required<PeerFetcherInit>
  readonly #hosts = new Map<HostId, Host>()
  readonly #stopped = new AbortController()

  constructor(components: PeerFetcherComponents, init: PeerFetcherInit = {}) {
    this.#components = components
    this.#init = { ...DEFAULTS, ...init }
  }

  async connect(
    parent: Candidate,
    digest: Digest,
    geometry: Geometry,
    listener: LinkListener,
    signal: AbortSignal,
  ): Promise<ParentLink> {
    signal.throwIfAborted()
    const stream = await abortable(this.#streamTo(parent), signal)
    const link = stream.subscribe(digest, geometry, listener)
    const host = this.#hostOf(parent.host)
    host.idle?.cancel()
    try {
      await abortable(link.opened, signal)
    } catch (error) {
      link.close()
      throw error
    }
    host.failures = 0
    link.handOver()
    return link
  }

  /** Shows this host's ticket to another that is connected, or can be reached. @throws as `connect` */
  async greet(parent: Candidate, signal: AbortSignal): Promise<void> {
    const stream = await abortable(this.#streamTo(parent), signal)
    if (stream.linkCount === 0) stream.noteUnused()
  }

  /** Ends all streams; links hear of it. */
  async stop(): Promise<void> {
    const error = new PantalaError('SHUTTING_DOWN')
    this.#stopped.abort(error)
    for (const host of this.#hosts.values()) {
      host.idle?.cancel()
      host.stream?.close(error)
    }
    this.#hosts.clear()
  }

  /** Hosts with an open stream. */
  get streamCount(): number {
    let count = 0
    for (const host of this.#hosts.values()) if (host.stream !== undefined) count++
    return count
  }

  #streamTo(parent: Candidate): Promise<PeerStream> {
    if (this.#stopped.signal.aborted) return Promise.reject(this.#stopped.signal.reason)
    const host = this.#hostOf(parent.host)
    if (host.stream?.stalled === true)
      return Promise.reject(new PantalaError('PARENT_SILENT', { detail: 'it has stalled' }))
    if (host.stream !== undefined) return Promise.resolve(host.stream)
    if (host.opening !== undefined) return host.opening
    const waitMs = host.retryAt - this.#components.clock.monotonic()
    // Under another address it is worth another try.
    if (waitMs > 0 && (host.failedAddresses ?? parent.addresses.join()) === parent.addresses.join())
      return Promise.reject(
        new PantalaError(host.failedAs, {
          detail: `failed a moment ago, not tried for ${Math.ceil(waitMs)} ms`,
        }),
      )
    host.opening = this.#open(parent, host).finally(() => {
      host.opening = undefined
    })
    return host.opening
  }

  async #open(parent: Candidate, host: Host): Promise<PeerStream> {
    const { silentMs, lostMs } = this.#init
    const { clock, logger, ticket } = this.#components
    const deadline = new DialDeadline(clock, this.#init)
    const signal = AbortSignal.any([deadline.signal, this.#stopped.signal])
    try {
      const { connection, stream: libp2pStream } = await this.#openStream(parent, host, signal, deadline)
      const stream = new PeerStream(
        { stream: libp2pStream, clock },
        {
          host: parent.host,
          ticket: ticket() ?? noTicket,
          silentMs,
          lostMs,
          onEnd: (ended, error) => this.#onStreamEnd(host, ended, connection, error),
          onUnused: unused => this.#onUnused(host, unused, connection),
        },
      )
      if (stream.over) throw new PantalaError('PARENT_GONE', { detail: 'the stream ended at once' })
      host.stream = stream
      return stream
    } catch (cause) {
      if (this.#stopped.signal.aborted) throw this.#stopped.signal.reason
      const error = explainDialFailure(cause, deadline)
      this.#noteFailure(host)
      host.failedAddresses = parent.addresses.join()
      host.failedAs = error.code
      logger.debug({ parent: parent.host, err: error }, 'parent not reached')
      throw error
    } finally {
      deadline.end()
    }
  }

  /** A stream on a connection there is, if the host answers on it, else on a new one. */
  async #openStream(
    parent: Candidate,
    host: Host,
    signal: AbortSignal,
    deadline: DialDeadline,
  ): Promise<{ connection: Connection; stream: Stream }> {
    const { node } = this.#components
    const suspect = host.suspect
    host.suspect = undefined
    if (suspect?.status === 'open') suspect.abort(new PantalaError('PARENT_SILENT'))
    const open = (connection: Connection, within: AbortSignal) =>
      connection.newStream(PIECE_PROTOCOL, { signal: within, maxOutboundStreams: 8 })
    const connected = node
      .getConnections(peerIdFromString(parent.host))
      .findLast(connection => connection.status === 'open')
    if (connected !== undefined) {
      const within = AbortSignal.any([signal, AbortSignal.timeout(this.#init.reuseMs)])
      try {
        deadline.noteReached()
        return { connection: connected, stream: await open(connected, within) }
      } catch (error) {
        // The host may have moved to another address without a word; what else went wrong is its answer.
        if (signal.aborted || !within.aborted) throw error
      }
    }
    const addresses = parent.addresses
      .slice(0, ADDRESSES_MAX)
      .map(address => withPeerId(address, parent.host))
      .filter(address => address !== undefined)
    if (addresses.length === 0) throw new PantalaError('PARENT_UNREACHABLE', { detail: 'no address' })
    const connection = await dialAnswering(node, addresses, {
      signal,
      force: connected !== undefined,
      onReached: () => deadline.noteReached(),
    }).catch(cause => {
      if (deadline.isLate && deadline.isReached) throw cause
      throw new PantalaError('PARENT_UNREACHABLE', { detail: `at ${addresses.join(', ')}`, cause })
    })
    deadline.noteReached()
    return { connection, stream: await open(connection, signal) }
  }

  #onStreamEnd(host: Host, stream: PeerStream, connection: Connection, error: PantalaError): void {
    if (host.stream === stream) host.stream = undefined
    host.idle?.cancel()
    if (error.code === 'PARENT_SILENT') host.suspect = connection
    // A clean end may be a restart; what else went wrong is likely to go wrong again.
    if (error.code !== 'PARENT_GONE' && error.code !== 'SHUTTING_DOWN') this.#noteFailure(host)
    this.#components.logger.debug({ parent: stream.host, err: error }, 'parent stream over')
  }

  #onUnused(host: Host, stream: PeerStream, connection: Connection): void {
    host.idle?.cancel()
    host.idle = this.#components.clock.after(this.#init.idleMs, () => {
      if (stream.linkCount > 0 || stream.over) return
      stream.close(new PantalaError('PARENT_GONE', { detail: 'idle' }))
      // The one who dialled also hangs up, unless other protocols use the connection.
      if (
        connection.direction === 'outbound' &&
        connection.streams.every(other => other.protocol === PIECE_PROTOCOL)
      )
        connection.close().catch(() => {})
    })
  }

  #noteFailure(host: Host): void {
    const { retryMs, retryMsMax } = this.#init
    host.retryAt = this.#components.clock.monotonic() + Math.min(retryMs * 2 ** host.failures, retryMsMax)
    host.failures++
  }

  #hostOf(id: HostId): Host {
    let host = this.#hosts.get(id)
    if (host === undefined) {
      if (this.#hosts.size >= this.#init.hostsMax) this.#forgetHosts()
      host = {
        opening: undefined,
        stream: undefined,
        idle: undefined,
        failures: 0,
        retryAt: 0,
        failedAddresses: undefined,
        failedAs: 'PARENT_GONE',
        suspect: undefined,
      }
      this.#hosts.set(id, host)
    }
    return host
  }

  /** Forgets a quarter of the hosts that nothing is open to, the longest known first. */
  #forgetHosts(): void {
    let count = Math.ceil(this.#init.hostsMax / 4)
    for (const [id, host] of this.#hosts) {
      if (count === 0) return
      if (host.stream !== undefined || host.opening !== undefined) continue
      this.#hosts.delete(id)
      count--
    }
  }
}

/** The promise, or the signal's reason if that comes first; the promise itself goes on. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  try {
    if (signal.aborted) throw signal.reason
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
    promise.catch(() => {})
  }
}

function explainDialFailure(cause: unknown, deadline: DialDeadline): PantalaError {
  if (isPantalaError(cause, 'PARENT_UNREACHABLE')) return cause
  if (deadline.isLate) return new PantalaError('PARENT_SILENT', { detail: 'dial timed out', cause })
  const name = cause instanceof Error ? cause.name : ''
  if (name === 'UnsupportedProtocolError')
    return new PantalaError('PARENT_PROTOCOL', { detail: 'the host does not serve pieces', cause })
  return toPantalaError(cause, 'PARENT_GONE')
}
