// What the supernode is configured with, after files, environment and flags were read and checked.

/** A registry's mirrors and transport, in the order in which they are tried. */
export interface UpstreamRegistry {
  readonly mirrors: readonly string[]
  readonly insecure?: boolean
  readonly caFile?: string
}

export interface UpstreamsConfig {
  readonly default: string
  readonly registries: Readonly<Record<string, UpstreamRegistry>>
  /** Registry names, or '*'. */
  readonly allow: readonly string[]
}

export interface SupernodeConfig {
  readonly dataDir: string
  readonly cluster: { readonly secret?: string; readonly secretFile?: string }
  readonly api: { readonly address: string }
  readonly peer: { readonly address: string; readonly announce: readonly string[] }
  readonly seed: { readonly enabled: boolean; readonly peerAddress: string; readonly quotaBytes: number }
  readonly upstreams: UpstreamsConfig
  readonly manifest: { readonly tagFreshMs: number }
  readonly host: { readonly expireMs: number }
  readonly source: { readonly budgetRatio: number; readonly stallTimeoutMs?: number }
  readonly shutdown: { readonly graceMs: number }
  readonly log: { readonly level: string; readonly format: 'auto' | 'json' | 'pretty' }
}
