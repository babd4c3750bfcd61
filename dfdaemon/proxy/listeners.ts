// All listeners of the proxy as one: the general one and one for each registry that has a port of its own. They share a desk.
import { type Address, parseAddress } from '../../shared/config/option.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { UpstreamsConfig } from '../../shared/source/registry-config.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'
import type { Face, ForwardProxy } from './proxy-context.ts'
import type { RequestDesk } from './request-desk.ts'
import { ProxyServer } from './server.ts'
import type { TlsPortInit } from './tls-port.ts'

export interface ListenerInit {
  /** Option and value, as errors name them. */
  readonly setting: string
  readonly address: Address
  readonly face: Face
}

export class ProxyListeners {
  readonly #servers: readonly ProxyServer[]

  /** `forwardProxy`: what the general listener takes for it; a port of one registry is no HTTP proxy. `tls`: for all of them. */
  constructor(
    components: { readonly desk: RequestDesk; readonly forwardProxy?: ForwardProxy | undefined },
    init: { readonly listeners: readonly ListenerInit[]; readonly tls?: TlsPortInit | undefined },
  ) {
    const { desk } = components
    this.#servers = init.listeners.map(
      ({ setting, address, face }) =>
        new ProxyServer(face.isFixed ? { desk } : components, { ...address, setting, face, tls: init.tls }),
    )
  }

  /** Base URLs, in the order given; known once started. */
  get urls(): string[] {
    return this.#servers.map(server => server.url)
  }

  /** If one cannot listen, none does. @throws PantalaError ADDRESS_IN_USE | CONFIG_INVALID */
  async start(): Promise<void> {
    try {
      for (const server of this.#servers) await server.start()
    } catch (error) {
      await this.stop(0)
      throw error
    }
  }

  /** Closes all ports at once, lets the desk's requests finish within `graceMs`, then cuts them. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all(this.#servers.map(server => server.stop(graceMs)))
  }
}

/**
 * The general listener, then one for each registry with a port of its own.
 * @throws PantalaError CONFIG_INVALID for a registry that may not be contacted
 */
export function listListeners(config: {
  readonly proxy: { readonly address: string; readonly registries: Readonly<Record<string, string>> }
  readonly upstreams: UpstreamsConfig
}): ListenerInit[] {
  const { proxy, upstreams } = config
  const allowed = new Set([...upstreams.allow, ...Object.keys(upstreams.registries)].map(canonicalRegistry))
  allowed.add(canonicalRegistry(upstreams.default))
  const own = Object.entries(proxy.registries).map(([address, name]): ListenerInit => {
    const registry = canonicalRegistry(name)
    if (!allowed.has('*') && !allowed.has(registry))
      throw new PantalaError('CONFIG_INVALID', {
        detail: `proxy.registries: ${name} is not among upstreams.allow`,
      })
    const face = { registry, isFixed: true }
    return { setting: `proxy.registries ${address}`, address: parseAddress(address)!, face }
  })
  const face = { registry: upstreams.default, isFixed: false }
  const general = { setting: `proxy.address ${proxy.address}`, address: parseAddress(proxy.address)!, face }
  return [general, ...own]
}
