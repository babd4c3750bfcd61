// Tunnels of CONNECT: bytes both ways, untouched, until both ends are done or nothing moves any more.
import type { Socket } from 'node:net'

/** Nothing moved either way for so long: both ends are cut, in ms. Runtimes keep connections between layers, pushes can be quiet. */
const TUNNEL_IDLE_MS = 10 * 60_000

/** After one end closed its half, the other has this long with nothing moving, in ms. */
const HALF_CLOSED_IDLE_MS = 60_000

export interface TunnelsInit {
  readonly idleMs?: number
  readonly halfClosedIdleMs?: number
}

export class Tunnels {
  readonly #open = new Set<Socket>()
  readonly #init: Required<TunnelsInit>
  #onEmpty: (() => void) | undefined

  constructor(init: TunnelsInit = {}) {
    this.#init = { idleMs: TUNNEL_IDLE_MS, halfClosedIdleMs: HALF_CLOSED_IDLE_MS, ...init }
  }

  get size(): number {
    return this.#open.size
  }

  /** Joins two connected sockets; both are gone when either breaks. */
  join(client: Socket, upstream: Socket, head: Uint8Array): void {
    this.#open.add(client)
    let closed = 0
    const cut = (): void => {
      client.destroy()
      upstream.destroy()
    }
    const onClose = (socket: Socket): void => {
      // What one end said last is still on its way to the other, unless it broke off.
      if (socket.readableEnded && socket.writableFinished) {
        closed++
        if (closed < 2) return
      }
      cut()
      if (this.#open.delete(client) && this.#open.size === 0) this.#onEmpty?.()
    }
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on('error', cut)
      from.once('close', () => onClose(from))
      from.once('end', () => upstream.setTimeout(this.#init.halfClosedIdleMs))
      // Ends the other half when this one ends; waits when the other end is slow.
      from.pipe(to)
    }
    // All bytes pass this socket, one way or the other: it is idle when the tunnel is.
    upstream.setTimeout(this.#init.idleMs, cut)
    client.setTimeout(0)
    if (head.byteLength > 0) upstream.write(head)
    if (client.destroyed || upstream.destroyed) cut()
  }

  /** Waits until tunnels have ended by themselves, `graceMs` at most, and cuts the rest. */
  async close(graceMs: number): Promise<void> {
    if (this.#open.size > 0 && graceMs > 0) {
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, graceMs)
        this.#onEmpty = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    for (const client of this.#open) client.destroy()
  }
}
