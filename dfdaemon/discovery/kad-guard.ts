// Lets the DHT see the node as it is, but for two things: only admitted hosts are answered, and a host is greeted before it is asked.
import type { KadDHTComponents } from '@libp2p/kad-dht'
import type { HostId } from '../../shared/protocol/messages.ts'

/** What of a node's components the DHT needs. */
export type KadComponents = Omit<KadDHTComponents, 'ping' | 'datastore'>

export interface GuardInit {
  readonly protocol: string
  readonly datastore: KadDHTComponents['datastore']
  admits(host: HostId): Promise<boolean>
  greet(host: HostId): Promise<void>
}

export function guardComponents(node: KadComponents, init: GuardInit): KadDHTComponents {
  const { registrar, connectionManager } = node
  const openConnection: typeof connectionManager.openConnection = async (peer, options) => {
    const connection = await connectionManager.openConnection(peer, options)
    await init.greet(connection.remotePeer.toString())
    return connection
  }
  const handle: typeof registrar.handle = (protocols, handler, options) =>
    registrar.handle(
      protocols,
      async (stream, connection) => {
        if (await init.admits(connection.remotePeer.toString())) await handler(stream, connection)
        else stream.abort(new Error('not admitted'))
      },
      options,
    )
  const { peerId, privateKey, addressManager, peerStore, events, logger } = node
  return {
    peerId,
    privateKey,
    addressManager,
    peerStore,
    events,
    logger,
    datastore: init.datastore,
    registrar: withMethods(registrar, { handle }),
    connectionManager: withMethods(connectionManager, { openConnection }),
    // A host that can be reached is alive; it need not speak another protocol for that.
    ping: {
      ping: async (peer, options) => {
        const before = performance.now()
        await openConnection(peer as Parameters<typeof openConnection>[0], options)
        return performance.now() - before
      },
    },
  }
}

/** The object, with some of its methods replaced; all others run on the object itself. */
function withMethods<T extends object>(target: T, methods: Partial<T>): T {
  return new Proxy(target, {
    get(object, name) {
      if (Object.hasOwn(methods, name)) return methods[name as keyof T]
      const value: unknown = Reflect.get(object, name, object)
      return typeof value === 'function' ? value.bind(object) : value
    },
  })
}
