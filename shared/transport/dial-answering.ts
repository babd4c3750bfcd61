// Dials a host that has several addresses: the first that answers and shakes hands wins. libp2p tries one after the other, and waits out each
// that is silent.
import { connect, isIPv6, type Socket } from 'node:net'
import type { Connection, Libp2p } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'

/** The next address is tried beside the earlier ones after this long, in ms (RFC 8305 asks for 100 to 2000). */
const STAGGER_MS = 150

/**
 * An address that took the connection has this long to shake hands while there are others, in ms; then they are tried, and it again for three
 * times as long. A second is what a host may be held up by one that never does; a handshake over a slow line takes a few hundred ms.
 */
const HANDSHAKE_MS = 600
const PATIENCE_TIMES = 3

export interface DialInit {
  readonly signal: AbortSignal
  /** Also where there is a connection to that host. */
  readonly force?: boolean
  /** The host took a connection, and shakes hands next. May be called several times. */
  onReached?(): void
}

/**
 * A connection to the host that all these addresses are said to be of; whoever else answers at one of them is passed over.
 * @throws what the last dial or attempt failed with
 */
export async function dialAnswering(
  node: Pick<Libp2p, 'dial'>,
  addresses: readonly string[],
  init: DialInit,
): Promise<Connection> {
  const search = new AnswerSearch(addresses, init.signal)
  /** Took the connection and did not shake hands in time. */
  const mute: Attempt[] = []
  let failure: unknown = new Error('no address')
  try {
    for (;;) {
      const answered = search.take() ?? (mute.length > 0 ? undefined : await search.next())
      const attempt = answered === undefined ? mute.shift() : { address: answered, patienceMs: HANDSHAKE_MS }
      if (attempt === undefined) throw search.failure ?? failure
      const isLast = mute.length === 0 && !search.isOpen
      const patience = isLast ? undefined : AbortSignal.timeout(attempt.patienceMs)
      const signal = patience === undefined ? init.signal : AbortSignal.any([init.signal, patience])
      try {
        return await node.dial(multiaddr(attempt.address), {
          force: init.force ?? false,
          signal,
          onProgress: event => {
            if (event.type === 'upgrader:encrypt-outbound-connection') init.onReached?.()
          },
        })
      } catch (error) {
        init.signal.throwIfAborted()
        failure = error
        search.failure = undefined
        if (patience?.aborted === true)
          mute.push({ ...attempt, patienceMs: attempt.patienceMs * PATIENCE_TIMES })
      }
    }
  } finally {
    search.end()
  }
}

interface Attempt {
  readonly address: string
  readonly patienceMs: number
}

interface Place {
  readonly address: string
  readonly host: string
  readonly port: number
  readonly family: 0 | 4 | 6
  readonly isName: boolean
  readonly peer: string
}

const placePattern = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d{1,5})(\/p2p\/[^/]+)?$/

function readPlace(address: string): Place | undefined {
  const [, kind, host, port, peer = ''] = placePattern.exec(address) ?? []
  if (kind === undefined || host === undefined) return undefined
  const family = kind.endsWith('4') ? 4 : kind.endsWith('6') ? 6 : 0
  return { address, host, port: Number(port), family, isName: kind.startsWith('dns'), peer }
}

/** Connects to the addresses, one begun after the other, and tells them in the order in which they answer. */
class AnswerSearch {
  /** Why the last attempt failed. */
  failure: unknown
  readonly #signal: AbortSignal
  /** Not begun. */
  readonly #places: Place[] = []
  readonly #answered: string[] = []
  readonly #sockets = new Set<Socket>()
  #begin: NodeJS.Timeout | undefined
  #news = Promise.withResolvers<void>()

  constructor(addresses: readonly string[], signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', this.#tell)
    const places = addresses.map(readPlace)
    for (const [index, address] of addresses.entries()) {
      const place = places[index]
      // A lone address has no rival, and what cannot be read here libp2p may know.
      if (place === undefined || (addresses.length === 1 && !place.isName)) this.#answered.push(address)
      else this.#places.push(place)
    }
    this.#beginNext()
  }

  /** True while there may be more. */
  get isOpen(): boolean {
    return this.#answered.length + this.#places.length + this.#sockets.size > 0
  }

  /** The next of those that have answered. */
  take(): string | undefined {
    return this.#answered.shift()
  }

  /** The next that answers; undefined when there are no more. @throws the signal's reason */
  async next(): Promise<string | undefined> {
    for (;;) {
      this.#signal.throwIfAborted()
      const address = this.#answered.shift()
      if (address !== undefined) return address
      if (!this.isOpen) return undefined
      await this.#news.promise
      this.#news = Promise.withResolvers()
    }
  }

  end(): void {
    clearTimeout(this.#begin)
    this.#signal.removeEventListener('abort', this.#tell)
    for (const socket of this.#sockets) socket.destroy()
  }

  readonly #tell = (): void => this.#news.resolve()

  readonly #beginNext = (): void => {
    clearTimeout(this.#begin)
    const place = this.#places.shift()
    if (place === undefined) return
    this.#begin = setTimeout(this.#beginNext, STAGGER_MS)
    const { host, port, family } = place
    const socket = connect({ host, port, family })
    this.#sockets.add(socket)
    const settle = () => {
      this.#sockets.delete(socket)
      socket.destroy()
      this.#tell()
    }
    socket.once('connect', () => {
      this.#answered.push(place.isName ? nameAddress(socket, place) : place.address)
      settle()
    })
    socket.on('error', error => {
      this.failure = error
      settle()
      this.#beginNext()
    })
  }
}

/** The one of a name's addresses that answered. */
function nameAddress(socket: Socket, place: Place): string {
  const { remoteAddress } = socket
  if (remoteAddress === undefined) return place.address
  return `/${isIPv6(remoteAddress) ? 'ip6' : 'ip4'}/${remoteAddress}/tcp/${place.port}${place.peer}`
}
