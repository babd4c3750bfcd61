// A TCP relay on loopback that can be frozen: connections stay open and carry nothing, as when the machine behind them has moved away.
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { TestContext } from 'node:test'

export class TcpRelay {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #frozen = false

  private constructor(server: Server) {
    this.#server = server
  }

  /** A relay to that port of 127.0.0.1; gone after the test. */
  static async start(t: TestContext, toPort: number): Promise<TcpRelay> {
    const server = createServer()
    const relay = new TcpRelay(server)
    server.on('connection', inbound => {
      relay.#keep(inbound)
      if (relay.#frozen) return
      const outbound = connect(toPort, '127.0.0.1')
      relay.#keep(outbound)
      inbound.on('data', chunk => relay.#frozen || outbound.write(chunk))
      outbound.on('data', chunk => relay.#frozen || inbound.write(chunk))
      inbound.on('close', () => relay.#frozen || outbound.destroy())
      outbound.on('close', () => relay.#frozen || inbound.destroy())
    })
    t.after(() => {
      for (const socket of relay.#sockets) socket.destroy()
      server.close()
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return relay
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port
  }

  /** The multiaddr of the relay, for the host whose own is given. */
  inFrontOf(address: string): string {
    return address.replace(/\/tcp\/\d+/, `/tcp/${this.port}`)
  }

  freeze(): void {
    this.#frozen = true
  }

  /** Connections made from now on are carried again. */
  thaw(): void {
    this.#frozen = false
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
  }
}
