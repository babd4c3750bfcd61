// Puts the HTTP(S) proxy together from the options: its authority is made where hosts are to be intercepted and there is none.
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../shared/clock.ts'
import { parseAddress } from '../../shared/config/option.ts'
import type { Logger } from '../../shared/logger.ts'
import { HttpProxies } from '../../shared/source/reach/http-proxy.ts'
import { TlsTrust, TrustedRoots } from '../../shared/source/reach/tls-trust.ts'
import type { RegistryConfig, UpstreamsConfig } from '../../shared/source/registry-config.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'
import { isLoopback } from '../proxy/open-proxy.ts'
import { authorityPaths, ensureAuthority, vouchesFor } from './authority/authority-files.ts'
import { LeafCertificates } from './authority/leaf-certificates.ts'
import { Forwarder } from './forwarder.ts'
import { Interceptor, type InterceptorComponents } from './interceptor.ts'
import { Dialler } from './outbound/dialler.ts'
import { listAuthorityHosts, readInterceptedHosts } from './outbound/host-list.ts'
import { registryName, showTarget, type Target } from './outbound/host-name.ts'
import { OutboundGuard } from './outbound/outbound-guard.ts'
import { TlsProbe } from './outbound/tls-probe.ts'

/** An authority that ends within this is warned of at each start, in ms. */
const AUTHORITY_ENDING_MS = 90 * 86_400_000

const HTTPS_PORT = 443

export interface InterceptConfig {
  readonly dataDir: string
  readonly intercept: { readonly hosts: readonly string[] }
  readonly proxy: {
    readonly address: string
    readonly forward: readonly string[]
    readonly stalledSendMs: number
    readonly tls?: { readonly certFile: string | undefined }
  }
  readonly upstreams: UpstreamsConfig
  /** Where HTTPS_PROXY, HTTP_PROXY and NO_PROXY are looked for. */
  readonly env: Readonly<Record<string, string | undefined>>
}

export interface MakeInterceptorComponents extends Pick<InterceptorComponents, 'desk' | 'metrics'> {
  readonly logger: Logger
  readonly clock: Clock
}

/** @throws PantalaError CONFIG_INVALID | DATA_DIR_UNUSABLE for an authority or a caFile that cannot be used */
export async function makeInterceptor(
  components: MakeInterceptorComponents,
  config: InterceptConfig,
  limits: {
    readonly tunnelsMax?: number
    readonly answerMs?: number
    readonly probeMs?: number
    readonly stalledBodyMs?: number
  } = {},
): Promise<{ interceptor: Interceptor; guard: OutboundGuard }> {
  const { logger, clock } = components
  const hosts = readInterceptedHosts(config.intercept.hosts)
  const { upstreams } = config
  const guard = new OutboundGuard({
    upstreams,
    forward: config.proxy.forward,
    intercepted: hosts,
    isLocal: isLoopback(parseAddress(config.proxy.address)!.host),
  })
  const trustFor = readTrusts(upstreams.registries)
  const { proxy, noProxy } = upstreams
  const proxies = new HttpProxies({ proxy, noProxy, env: config.env, ownAddresses: [config.proxy.address] })
  const self = `pantala-${randomBytes(6).toString('hex')}`
  // What is forwarded is the client's own request: it goes without this host's certificate, which only opens what the desk answers for.
  const dialler = new Dialler({ guard, self, proxies, trustFor: target => trustFor(target).unnamed })
  const forwarder = new Forwarder({ guard, self, dialler, proxies, logger }, { ...config.proxy, ...limits })
  const probe = new TlsProbe({ dialler, clock, trustFor: target => trustFor(target).own }, limits)
  const leaves = hosts.length === 0 ? undefined : await makeLeaves(components, config)
  const namesWhere = (holds: (registry: RegistryConfig) => boolean): ReadonlySet<string> =>
    new Set(
      Object.entries(upstreams.registries)
        .filter(([, registry]) => holds(registry))
        .map(([name]) => canonicalRegistry(name)),
    )
  const plain = namesWhere(({ insecure }) => insecure === true)
  const mirrored = namesWhere(({ mirrors = [] }) => mirrors.length > 0)
  const interceptor = new Interceptor(
    { ...components, dialler, forwarder, probe, leaves },
    {
      hosts,
      isPlain: registry => plain.has(canonicalRegistry(registry)),
      hasMirrors: registry => mirrored.has(canonicalRegistry(registry)),
      ...limits,
    },
  )
  return { interceptor, guard }
}

async function makeLeaves(
  { logger, clock }: Pick<MakeInterceptorComponents, 'logger' | 'clock'>,
  config: InterceptConfig,
): Promise<LeafCertificates> {
  const hosts = listAuthorityHosts(config.intercept.hosts)
  const authority = await ensureAuthority(config.dataDir, hosts, clock.now())
  const uncovered = hosts.filter(name => !vouchesFor(authority, name))
  const { fingerprint } = authority
  logger.info(
    {
      hosts: hosts.filter(name => vouchesFor(authority, name)),
      certificate: authorityPaths(config.dataDir).certificate,
      fingerprint,
    },
    'hosts that are intercepted',
  )
  if (config.proxy.tls?.certFile !== undefined)
    logger.warn('intercept.hosts is without effect: a proxy with proxy.tls is no HTTP(S) proxy')
  if (uncovered.length > 0)
    logger.warn(
      { hosts: uncovered, fingerprint },
      'the authority does not vouch for these hosts of intercept.hosts: they are tunnelled; pantala ca init --force makes a new one',
    )
  if (authority.endsMs - clock.now() < AUTHORITY_ENDING_MS)
    logger.warn(
      { ends: new Date(authority.endsMs).toISOString(), fingerprint },
      'the authority ends soon: after that, nothing is intercepted; pantala ca init --force makes a new one',
    )
  return new LeafCertificates({ authority, clock })
}

/** How TLS to a target is verified: as its registry is configured, or as usual. @throws PantalaError CONFIG_INVALID for files that cannot be used */
function readTrusts(registries: Readonly<Record<string, RegistryConfig>>): (target: Target) => TlsTrust {
  const roots = new TrustedRoots()
  const usual = new TlsTrust(roots, {})
  const trusts = new Map(
    Object.entries(registries).map(([name, registry]) => [
      canonicalRegistry(name),
      new TlsTrust(roots, registry),
    ]),
  )
  return target => {
    const name = namesOf(target).find(name => trusts.has(name))
    return name === undefined ? usual : trusts.get(name)!
  }
}

/** The names a registry at this target may be configured by. */
function namesOf(target: Target): readonly string[] {
  return [registryName(target, HTTPS_PORT), showTarget(target)].map(canonicalRegistry)
}
