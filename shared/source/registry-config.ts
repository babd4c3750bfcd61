// What the configuration says of registries, as both services read it and the registry client takes it.

/** How one registry is reached. */
export interface RegistryConfig {
  /** URLs tried before the registry itself, in this order. A path becomes a prefix of the repository name. `http://` is plain HTTP. */
  readonly mirrors?: readonly string[]
  /** The registry itself is spoken to over plain HTTP. */
  readonly insecure?: boolean
  /** PEM file of certificate authorities trusted for the registry and its mirrors, besides the usual ones. */
  readonly caFile?: string
  /** PEM files of the client certificate, with its chain, and its key; shown to the registry's and its mirrors' own hosts. */
  readonly certFile?: string
  readonly keyFile?: string
  /** TLS to the registry's and its mirrors' own hosts without verification. */
  readonly skipVerify?: boolean
  /** A docker config.json or a Kubernetes pull secret with credentials for requests that bring none. */
  readonly credentialsFile?: string
  /** The credentials of that file also serve clients that send none; otherwise only this service's own requests. */
  readonly useForClients?: boolean
}

export interface UpstreamsConfig {
  /** Registry for names that carry none. */
  readonly default: string
  readonly registries: Readonly<Record<string, RegistryConfig>>
  /** Registry names that may be contacted besides those configured above; `*` is any name that is not link-local. */
  readonly allow: readonly string[]
  /** Where a registry has several endpoints, one that sends nothing for this long is left for the next, in ms. */
  readonly failoverMs?: number
  /** URL of the HTTP proxy towards registries, or `none`; absent: what the environment says. */
  readonly proxy?: string | undefined
  /** Hosts reached without that proxy, besides those of NO_PROXY. */
  readonly noProxy?: readonly string[]
}
