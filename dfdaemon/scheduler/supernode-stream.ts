// One schedule stream to one supernode: dial, hello, welcome, heartbeats, and the watch over its silence. Knows nothing of tasks.
import type { Connection, Libp2p } from '@libp2p/interface'
import type { Clock, Timer } from '../../shared/clock.ts'
import {
  type ErrorCode,
  errorCatalogue,
  isPantalaError,
  PantalaError,
  toPantalaError,
} from '../../shared/errors.ts'
import { makeProof } from '../../shared/protocol/admission.ts'
import { decodeSupernodeMessage, encodeMessage } from '../../shared/protocol/codec.ts'
import { FrameStream } from '../../shared/protocol/framing.ts'
import { SUPERNODE_FRAME_BYTES_MAX } from '../../shared/protocol/limits.ts'
import {
  type Hello,
  type HostMessage,
  SCHEDULE_PROTOCOL,
  type SupernodeMessage,
  type Welcome,
} from '../../shared/protocol/messages.ts'
import { ADDRESSES_TOLD_MAX } from '../../shared/transport/addresses.ts'
import { dialAnswering } from '../../shared/transport/dial-answering.ts'
import { localAddressTowards } from '../../shared/transport/local-address.ts'

/** Dial, handshakes and welcome together, in ms. */
export const CONNECT_TIMEOUT_MS = 8000
/** Most bytes that wait for a slow supernode; past it the stream is cut and begun anew. */
const OUTBOUND_BYTES_MAX = 8 * 1024 * 1024
/** Heartbeats without any answer after which the supernode counts as away. */
const SILENT_HEARTBEATS_MAX = 3

/** How often this machine's addresses are looked at, in ms. */
const ADDRESSES_WATCH_MS = 2000

export interface StreamListener {
  onMessage(message: Exclude<SupernodeMessage, { type: 'probe' }>): void
  /** After the welcome only; never from inside `send`. */
  onLost(error: PantalaError): void
}

export interface SupernodeStreamComponents {
  readonly libp2p: Libp2p
  readonly clock: Clock
}

export interface StreamFacts {
  readonly hello: Omit<Hello, 'type' | 'proof' | 'addresses'>
  readonly secret: string | undefined
  /** Where other hosts can dial this one; the first 8 are told. `nearest`: its IP address on the way to the supernode, which goes first. */
  addresses(nearest?: string): readonly string[]
  load(): { slotsBusy: number; storeBytes: number }
}

export class SupernodeStream {
  readonly #clock: Clock
  readonly #listener: StreamListener
  readonly #facts: StreamFacts
  readonly #welcomed = Promise.withResolvers<Welcome>()
  #frames: FrameStream | undefined
  #heartbeat: Timer | undefined
  #expecting: Timer | undefined
  #watch: Timer | undefined
  #connection: Connection | undefined
  #told: readonly string[] = []
  #heardAt = 0
  #isWelcome = false

  private constructor(components: SupernodeStreamComponents, facts: StreamFacts, listener: StreamListener) {
    this.#clock = components.clock
    this.#facts = facts
    this.#listener = listener
  }

  /**
   * Opens a stream to the supernode at `address`, a multiaddr that ends in /p2p/<PeerId>.
   * `dialMs`: how long the connection may take, if not as long as all the rest.
   * @throws PantalaError SUPERNODE_AWAY | SUPERNODE_IDENTITY (another PeerId answers there) | ADMISSION_REFUSED | SUPERNODE_REFUSED
   */
  static async open(
    components: SupernodeStreamComponents,
    address: string,
    facts: StreamFacts,
    listener: StreamListener,
    signal: AbortSignal,
    dialMs = CONNECT_TIMEOUT_MS,
  ): Promise<{ stream: SupernodeStream; welcome: Welcome }> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)])
    const made = new SupernodeStream(components, facts, listener)
    try {
      const { libp2p } = components
      const inTime = AbortSignal.any([deadline, AbortSignal.timeout(dialMs)])
      const connection = await dialAnswering(libp2p, [address], { signal: inTime })
      made.#connection = connection
      const nearest = await localAddressTowards(connection.remoteAddr.toString())
      made.#told = facts.addresses(nearest).slice(0, ADDRESSES_TOLD_MAX)
      const stream = await connection.newStream(SCHEDULE_PROTOCOL, { signal: deadline })
      const { secret, hello } = facts
      const proof =
        secret === undefined
          ? undefined
          : makeProof(secret, connection.remotePeer.toString(), libp2p.peerId.toString())
      made.#frames = new FrameStream(
        stream,
        { frameBytesMax: SUPERNODE_FRAME_BYTES_MAX, sendQueueBytesMax: OUTBOUND_BYTES_MAX },
        { onFrame: frame => made.#onFrame(frame), onClose: error => made.#onClose(error) },
      )
      made.#frames.send(encodeMessage({ type: 'hello', ...hello, addresses: made.#told, proof }))
      const onAbort = () => made.#welcomed.reject(deadline.reason)
      deadline.addEventListener('abort', onAbort, { once: true })
      const welcome = await made.#welcomed.promise.finally(() =>
        deadline.removeEventListener('abort', onAbort),
      )
      made.#beat(welcome.heartbeatMs)
      made.#watchAddresses()
      return { stream: made, welcome }
    } catch (error) {
      made.#frames?.abort(toPantalaError(error, 'SUPERNODE_AWAY'))
      made.#hangUp()
      throw explain(error, address)
    }
  }

  /** Bytes that wait to be sent. */
  get queuedBytes(): number {
    return this.#frames?.queuedBytes ?? 0
  }

  send(message: HostMessage): boolean {
    return this.#frames?.send(encodeMessage(message)) ?? false
  }

  /** Something is awaited: half-way a heartbeat asks for a sign of life, and without any byte the stream is lost after `silentMs`, if that is given. */
  expectByte(silentMs: number | undefined): void {
    if (silentMs === undefined || this.#expecting !== undefined) return
    const since = this.#clock.monotonic()
    const check = (next: () => void): Timer =>
      this.#clock.after(silentMs / 2, () => {
        this.#expecting = undefined
        if (this.#heardAt < since && this.#isWelcome) next()
      })
    this.#expecting = check(() => {
      this.send({ type: 'heartbeat', ...this.#facts.load() })
      this.#expecting = check(() =>
        this.#frames?.abort(new PantalaError('SUPERNODE_AWAY', { detail: `no byte for ${silentMs} ms` })),
      )
    })
  }

  async close(timeoutMs: number): Promise<void> {
    this.#isWelcome = false
    this.#heartbeat?.cancel()
    this.#expecting?.cancel()
    this.#watch?.cancel()
    await this.#frames?.close(timeoutMs)
  }

  #onFrame(frame: Uint8Array): void {
    const message = decodeSupernodeMessage(frame)
    this.#heardAt = this.#clock.monotonic()
    if (!this.#isWelcome) {
      if (message.type === 'welcome') {
        this.#isWelcome = true
        this.#welcomed.resolve(message)
        return
      }
      throw message.type === 'refused'
        ? toError(message)
        : new PantalaError('SUPERNODE_REFUSED', { detail: `${message.type} before welcome` })
    }
    if (message.type === 'probe') {
      this.send({ type: 'heartbeat', ...this.#facts.load() })
      return
    }
    if (message.type === 'registered') {
      // Whoever asked gets to see the answer before pushes that follow it in the same bytes.
      this.#frames?.pause()
      setImmediate(() => this.#frames?.resume())
    }
    this.#listener.onMessage(message)
  }

  #onClose(error: Error | undefined): void {
    this.#heartbeat?.cancel()
    this.#expecting?.cancel()
    this.#watch?.cancel()
    const reason = toPantalaError(error ?? new Error('the stream ended'), 'SUPERNODE_AWAY')
    this.#welcomed.promise.catch(() => {})
    this.#welcomed.reject(reason)
    if (!this.#isWelcome) return
    this.#isWelcome = false
    this.#hangUp()
    queueMicrotask(() => this.#listener.onLost(reason))
  }

  /** A connection that was lost may look open for a minute or two; the next attempt must not find it. */
  #hangUp(): void {
    this.#connection?.abort(new PantalaError('SUPERNODE_AWAY', { detail: 'given up' }))
  }

  /** Other hosts were told of an address that this machine has no more, as after a move to another network: all is said again. */
  #checkAddresses(): void {
    const now = new Set(this.#facts.addresses())
    const gone = this.#told.find(address => !now.has(address))
    if (gone !== undefined)
      this.#frames?.abort(
        new PantalaError('SUPERNODE_AWAY', { detail: `${gone} is no longer an address of this host` }),
      )
  }

  #watchAddresses(): void {
    this.#watch = this.#clock.after(ADDRESSES_WATCH_MS, () => {
      this.#checkAddresses()
      if (this.#isWelcome) this.#watchAddresses()
    })
  }

  #beat(heartbeatMs: number): void {
    this.#heartbeat = this.#clock.after(heartbeatMs, () => {
      if (this.#clock.monotonic() - this.#heardAt > heartbeatMs * SILENT_HEARTBEATS_MAX) {
        this.#frames?.abort(new PantalaError('SUPERNODE_AWAY', { detail: 'the supernode is silent' }))
        return
      }
      this.send({ type: 'heartbeat', ...this.#facts.load() })
      this.#beat(heartbeatMs)
    })
  }
}

/** The error that a `refused` or `task-failed` names. */
export function toError(message: { code: string; detail: string; challenge?: string }): PantalaError {
  const { detail, challenge } = message
  if (Object.hasOwn(errorCatalogue, message.code))
    return new PantalaError(message.code as ErrorCode, { detail, challenge })
  return new PantalaError('SUPERNODE_REFUSED', { detail: `${message.code}: ${detail}`, challenge })
}

function explain(error: unknown, address: string): PantalaError {
  if (isPantalaError(error)) return error
  if (namesUnexpectedPeer(error))
    return new PantalaError('SUPERNODE_IDENTITY', { detail: address, cause: error })
  return toPantalaError(
    error,
    'SUPERNODE_AWAY',
    `${address}: ${error instanceof Error ? error.message : String(error)}`,
  )
}

/** libp2p's encrypters throw UnexpectedPeerError; its upgrader passes on only the message, and a dial of several addresses wraps that. */
function namesUnexpectedPeer(error: unknown, depth = 0): boolean {
  if (!(error instanceof Error) || depth > 4) return false
  if (error.name === 'UnexpectedPeerError') return true
  if (error.name === 'EncryptionFailedError' && unexpectedPeerText.test(error.message)) return true
  const inner = [...((error as AggregateError).errors ?? []), error.cause]
  return inner.some(one => namesUnexpectedPeer(one, depth + 1))
}

const unexpectedPeerText = /unexpected peer|does not match expected/i
