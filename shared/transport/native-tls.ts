// libp2p's TLS 1.3 (https://github.com/libp2p/specs/blob/master/tls/tls.md) done by node:tls on the TCP socket itself, where @libp2p/tls
// wraps a stream around it: the same on the wire, a fraction of the CPU. What cannot be done so is left to @libp2p/tls.
import { Socket } from 'node:net'
import { connect, createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import type {
  ConnectionEncrypter,
  MessageStream,
  SecureConnectionOptions,
  SecuredConnection,
} from '@libp2p/interface'
import { type TLSComponents, tls } from '@libp2p/tls'
import { toMessageStream, verifyPeerCertificate } from '@libp2p/tls/utils'
import { PantalaError } from '../errors.ts'
import { makePeerCertificate } from './peer-certificate.ts'

export const TLS_PROTOCOL = '/tls/1.0.0'

/** What ALPN says when no muxer was chosen early. */
const NO_EARLY_MUXER = 'libp2p'

/** AES-128 first: a quarter less work than AES-256, and all three are what TLS 1.3 has. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256'

const nativeSocket = Symbol('pantala.nativeSocket')

/** The TLS socket under a connection that NativeTls secured; undefined for any other. */
export function nativeSocketOf(connection: MessageStream): TLSSocket | undefined {
  return (connection as { [nativeSocket]?: TLSSocket })[nativeSocket]
}

/** The encrypter for libp2p's `connectionEncrypters`. */
export function nativeTls(): (components: TLSComponents) => ConnectionEncrypter {
  return components => new NativeTls(components)
}

class NativeTls implements ConnectionEncrypter {
  readonly protocol = TLS_PROTOCOL
  readonly #components: TLSComponents
  readonly #stock: ConnectionEncrypter
  #context: Promise<SecureContext> | undefined

  constructor(components: TLSComponents) {
    this.#components = components
    this.#stock = tls()(components)
  }

  secureInbound(connection: MessageStream, options?: SecureConnectionOptions): Promise<SecuredConnection> {
    return this.#secure(connection, true, options)
  }

  secureOutbound(connection: MessageStream, options?: SecureConnectionOptions): Promise<SecuredConnection> {
    return this.#secure(connection, false, options)
  }

  async #secure(
    connection: MessageStream,
    isServer: boolean,
    options: SecureConnectionOptions | undefined,
  ): Promise<SecuredConnection> {
    // One self-signed certificate per process.
    this.#context ??= makePeerCertificate(this.#components.privateKey).then(({ cert, key }) =>
      createSecureContext({ cert, key, ciphers: CIPHERS, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' }),
    )
    const context = await this.#context
    options?.signal?.throwIfAborted()
    const tcp = takeSocket(connection)
    if (tcp === undefined)
      return isServer
        ? this.#stock.secureInbound(connection, options)
        : this.#stock.secureOutbound(connection, options)
    const muxers = this.#components.upgrader.getStreamMuxers()
    const early = options?.skipStreamMuxerNegotiation !== true
    const alpn = [...(early ? muxers.keys() : []), NO_EARLY_MUXER]
    const socket = startTls(tcp, isServer, context, alpn)
    try {
      await handshake(socket, options?.signal)
      const certificate = socket.getPeerCertificate().raw
      if (certificate === undefined) throw new Error('the peer sent no certificate')
      const remotePeer = await verifyPeerCertificate(certificate, options?.remotePeer, connection.log)
      options?.signal?.throwIfAborted()
      if (socket.destroyed) throw new Error('closed during the handshake')
      const chosen = socket.alpnProtocol
      const secured = Object.assign(toMessageStream(connection, socket), { [nativeSocket]: socket })
      return {
        remotePeer,
        connection: secured,
        streamMuxer: early && typeof chosen === 'string' ? muxers.get(chosen) : undefined,
      }
    } catch (error) {
      socket.destroy()
      connection.abort(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }
}

/**
 * The TCP socket of a connection, with nobody reading from it any more; undefined if it cannot be had: another transport, another version
 * of it, or bytes that were already read.
 */
function takeSocket(connection: MessageStream): Socket | undefined {
  const { socket } = connection as { socket?: unknown }
  if (!(socket instanceof Socket) || socket instanceof TLSSocket || socket.destroyed) return undefined
  // Only the connection itself may be listening. Bytes it has read could not be given back to the kernel's side of the socket.
  const listeners = socket.listeners('data')
  if (listeners.length !== 1 || connection.readBufferLength > 0 || socket.readableLength > 0) return undefined
  socket.removeListener('data', listeners[0] as (chunk: Buffer) => void)
  return socket
}

function startTls(tcp: Socket, isServer: boolean, secureContext: SecureContext, alpn: string[]): TLSSocket {
  if (!isServer)
    return connect({ socket: tcp, secureContext, rejectUnauthorized: false, ALPNProtocols: alpn })
  return new TLSSocket(tcp, {
    isServer,
    secureContext,
    requestCert: true,
    // Peers are known by the key in their self-signed certificate, which is verified after the handshake.
    rejectUnauthorized: false,
    // The first of the dialler's that we have, as @libp2p/tls chooses.
    ALPNCallback: ({ protocols }) => protocols.find(protocol => alpn.includes(protocol)),
  })
}

async function handshake(socket: TLSSocket, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onAbort = () =>
    reject(new PantalaError('DEADLINE_PASSED', { detail: 'TLS handshake', cause: signal?.reason }))
  const onClose = () => reject(new Error('closed during the handshake'))
  // Stays for the socket's life: an 'error' without a listener would end the process.
  socket.on('error', reject)
  socket.once('close', onClose)
  socket.once('secure', resolve)
  signal?.addEventListener('abort', onAbort)
  try {
    await promise
  } finally {
    socket.removeListener('close', onClose)
    signal?.removeEventListener('abort', onAbort)
  }
}
