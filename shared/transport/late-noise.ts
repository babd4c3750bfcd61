// libp2p's noise, loaded when a peer asks for it for the first time: ours speak TLS to each other, and its ciphers are a MiB or two that a host seldom needs.
import type { NoiseComponents } from '@chainsafe/libp2p-noise'
import type { ConnectionEncrypter } from '@libp2p/interface'

const NOISE_PROTOCOL = '/noise'

/** As `noise()` of @chainsafe/libp2p-noise. */
export function lateNoise(): (components: NoiseComponents) => ConnectionEncrypter {
  return components => {
    let loading: Promise<ConnectionEncrypter> | undefined
    const load = (): Promise<ConnectionEncrypter> => {
      loading ??= import('@chainsafe/libp2p-noise').then(({ noise }) => noise()(components))
      return loading
    }
    return {
      protocol: NOISE_PROTOCOL,
      secureInbound: async (connection, options) => (await load()).secureInbound(connection, options),
      secureOutbound: async (connection, options) => (await load()).secureOutbound(connection, options),
    }
  }
}
