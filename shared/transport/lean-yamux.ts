// A muxer that speaks yamux on the wire, wire-compatible with @chainsafe/libp2p-yamux, made for few streams with many bytes: frames are
// neither kept nor copied on their way through. Ordinary protocols see ordinary libp2p streams.
import type { MessageStream, StreamMuxer, StreamMuxerFactory } from '@libp2p/interface'
import { AbstractStreamMuxer } from '@libp2p/utils'
import { PantalaError, toPantalaError } from '../errors.ts'
import { type ByteChannel, type ByteChannelInit, openByteChannel } from './byte-channel.ts'
import { encodeYamuxHeader, FLAG, GO_AWAY, YAMUX, YamuxParser, type YamuxSink } from './lean-yamux-frames.ts'
import { LeanStream } from './lean-yamux-stream.ts'

export const YAMUX_PROTOCOL = '/yamux/1.0.0'

export interface LeanYamuxInit extends ByteChannelInit {
  /** Streams the other end may have open; those beyond are reset. */
  readonly inboundStreamsMax?: number
  readonly outboundStreamsMax?: number
  /** A ping is sent this often, in ms; without a byte for three times as long the connection is given up. */
  readonly pingMs?: number
}

/** Answers held for an end that sends but does not read, in bytes; beyond, the connection is cut. */
const CONTROL_BYTES_MAX = 4 * 1024 * 1024

/** How long a close waits for what is on its way out, in ms. */
const GOODBYE_MS = 500

const DEFAULTS = {
  inboundStreamsMax: 256,
  outboundStreamsMax: 256,
  pingMs: 30_000,
  reuseBuffer: true,
} as const

/** The muxer for libp2p's `streamMuxers`. */
export function leanYamux(init: LeanYamuxInit = {}): () => StreamMuxerFactory {
  return () => ({
    protocol: YAMUX_PROTOCOL,
    createStreamMuxer: (connection): StreamMuxer => new LeanMuxer(connection, { ...DEFAULTS, ...init }),
  })
}

class LeanMuxer extends AbstractStreamMuxer<LeanStream> implements YamuxSink {
  readonly #init: Required<LeanYamuxInit>
  readonly #channel: ByteChannel
  readonly #byId = new Map<number, LeanStream>()
  readonly #inboundParity: 0 | 1
  #nextId: number
  #inbound = 0
  #remoteGoAway = false
  /** The stream that the data frame under way belongs to; undefined lets its bytes run past. */
  #receiving: LeanStream | undefined
  /** Bytes of that frame that are left, if it ends the stream's other direction. */
  #endAfterBytes = 0
  #over = false
  #heard = true
  #quietPings = 0
  readonly #pings: NodeJS.Timeout

  constructor(connection: MessageStream, init: Required<LeanYamuxInit>) {
    super(connection, { protocol: YAMUX_PROTOCOL, name: 'yamux' })
    this.#init = init
    const dialler = connection.direction === 'outbound'
    this.#nextId = dialler ? 1 : 2
    this.#inboundParity = dialler ? 0 : 1
    const parser = new YamuxParser(this)
    this.#channel = openByteChannel(
      connection,
      {
        take: (buffer, start, end) => {
          if (this.#over) return
          this.#heard = true
          try {
            parser.push(buffer, start, end)
          } catch (error) {
            this.#fail(toPantalaError(error, 'MESSAGE_INVALID'))
          }
        },
        onDrain: () => this.#onDrain(),
      },
      init,
    )
    this.#pings = setInterval(() => this.#ping(), init.pingMs)
    this.#pings.unref()
  }

  // ---- AbstractStreamMuxer ----

  /** Its own listener brings nothing: bytes come through the channel. */
  override onData(): void {}

  override onCreateStream(): LeanStream {
    if (this.#remoteGoAway || this.#over)
      throw new PantalaError('PARENT_GONE', { detail: 'connection is closing' })
    if (this.#byId.size - this.#inbound >= this.#init.outboundStreamsMax)
      throw new PantalaError('OVERLOADED', { detail: `${this.#init.outboundStreamsMax} streams to one host` })
    const id = this.#nextId
    this.#nextId += 2
    return this.#makeStream(id, 'outbound')
  }

  override async close(options?: Parameters<AbstractStreamMuxer['close']>[0]): Promise<void> {
    if (this.status !== 'open') return
    try {
      await super.close(options)
    } finally {
      await this.#sayGoodbye(GO_AWAY.normal)
      this.#end()
    }
  }

  override abort(error: Error): void {
    if (this.status === 'closed') return
    super.abort(error)
    this.#channel.write(encodeYamuxHeader(YAMUX.goAway, 0, 0, GO_AWAY.internalError))
    this.#end()
  }

  override onTransportClosed(error?: Error): void {
    this.#end()
    super.onTransportClosed(error)
  }

  // ---- from the parser ----

  onHeader(type: number, flags: number, streamId: number, length: number): void {
    this.#receiving = undefined
    this.#endAfterBytes = 0
    if (type === YAMUX.ping) this.#onPing(flags, length)
    else if (type === YAMUX.goAway) this.#onGoAway(length)
    else this.#onStreamFrame(type, flags, streamId, length)
    if (this.#channel.queuedBytes > CONTROL_BYTES_MAX)
      throw new PantalaError('OVERLOADED', { detail: 'the other end does not read' })
  }

  onBody(buffer: Uint8Array, start: number, end: number): void {
    const stream = this.#receiving
    if (stream === undefined || this.#over) return
    stream.receive(buffer, start, end)
    if (this.#endAfterBytes === 0) return
    this.#endAfterBytes -= end - start
    if (this.#endAfterBytes === 0) stream.onRemoteCloseWrite()
  }

  #onStreamFrame(type: number, flags: number, streamId: number, length: number): void {
    if (streamId === 0) throw new PantalaError('MESSAGE_INVALID', { detail: 'stream 0' })
    if ((flags & FLAG.syn) !== 0) this.#accept(streamId)
    const stream = this.#byId.get(streamId)
    // Frames may cross a reset: for a stream that is gone they are let past.
    if (stream === undefined) return
    if (type === YAMUX.windowUpdate) stream.growSendWindow(length)
    else stream.spendWindow(length)
    if ((flags & FLAG.rst) !== 0) {
      stream.onRemoteReset()
      return
    }
    const body = type === YAMUX.data ? length : 0
    if (body > 0) this.#receiving = stream
    if ((flags & FLAG.fin) === 0) return
    if (body > 0) this.#endAfterBytes = body
    else stream.onRemoteCloseWrite()
  }

  #accept(streamId: number): void {
    if (streamId % 2 !== this.#inboundParity || this.#byId.has(streamId))
      throw new PantalaError('MESSAGE_INVALID', {
        detail: `stream ${streamId} opened by the wrong end or twice`,
      })
    if (this.#inbound >= this.#init.inboundStreamsMax || this.status !== 'open') {
      this.#channel.write(encodeYamuxHeader(YAMUX.windowUpdate, FLAG.rst, streamId, 0))
      return
    }
    this.#inbound++
    this.onRemoteStream(this.#makeStream(streamId, 'inbound'))
  }

  #makeStream(streamId: number, direction: 'inbound' | 'outbound'): LeanStream {
    const stream = new LeanStream({
      streamId,
      direction,
      channel: this.#channel,
      log: this.log.newScope(`${direction}:${streamId}`),
    })
    stream.addEventListener('close', () => {
      if (this.#byId.get(streamId) !== stream) return
      this.#byId.delete(streamId)
      if (direction === 'inbound') this.#inbound--
    })
    this.#byId.set(streamId, stream)
    stream.open()
    return stream
  }

  #onPing(flags: number, value: number): void {
    if ((flags & FLAG.syn) !== 0) this.#channel.write(encodeYamuxHeader(YAMUX.ping, FLAG.ack, 0, value))
  }

  #onGoAway(reason: number): void {
    this.#remoteGoAway = true
    if (reason === GO_AWAY.normal) this.onTransportClosed()
    else this.#fail(new PantalaError('PARENT_GONE', { detail: `the other end went away, reason ${reason}` }))
  }

  // ---- the connection ----

  #onDrain(): void {
    // The first served goes last next time, so that none waits for ever.
    const streams = [...this.#byId.values()]
    const first = streams[0]
    if (first !== undefined && streams.length > 1) {
      this.#byId.delete(first.streamId)
      this.#byId.set(first.streamId, first)
    }
    for (const stream of streams) stream.onChannelReady()
  }

  #ping(): void {
    this.#quietPings = this.#heard ? 0 : this.#quietPings + 1
    this.#heard = false
    if (this.#quietPings >= 3)
      this.#fail(new PantalaError('DEADLINE_PASSED', { detail: 'no answer to pings' }))
    else this.#channel.write(encodeYamuxHeader(YAMUX.ping, FLAG.syn, 0, 0))
  }

  #sayGoodbye(reason: number): Promise<void> | undefined {
    if (this.maConn.status !== 'open') return undefined
    const { promise, resolve } = Promise.withResolvers<void>()
    // The socket is closed below TLS: what is in TLS must be out by then. Not for long, though.
    const timer = setTimeout(resolve, GOODBYE_MS)
    this.maConn.addEventListener('close', () => resolve())
    this.#channel.write(encodeYamuxHeader(YAMUX.goAway, 0, 0, reason), resolve)
    return promise.finally(() => clearTimeout(timer))
  }

  #fail(error: PantalaError): void {
    if (this.#over) return
    const reason = error.code === 'MESSAGE_INVALID' ? GO_AWAY.protocolError : GO_AWAY.internalError
    this.#channel.write(encodeYamuxHeader(YAMUX.goAway, 0, 0, reason))
    this.#end()
    super.abort(error)
    this.maConn.abort(error)
  }

  #end(): void {
    this.#over = true
    this.#receiving = undefined
    clearInterval(this.#pings)
  }
}
