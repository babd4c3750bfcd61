// Puts the HTTP(S) proxy together from the options: its authority is made where hosts are to be intercepted and there is none.
import { readFileSync } from 'node:fs'
import { getCACertificates } from 'node:tls'
import type { Clock } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { canonicalRegistry, type RegistryConfig } from '../../shared/source/upstreams.ts'
import { isLoopback } from '../proxy/open-proxy.ts'
import { ensureAuthority, vouchesFor } from './authority-files.ts'
import { Forwarder } from './forwarder.ts'
import { listAuthorityHosts, readInterceptedHosts } from './host-list.ts'
import { registryName, showTarget, type Target } from './host-name.ts'
import { Interceptor, type InterceptorComponents } from './interceptor.ts'
import { LeafCertificates } from './leaf-certificates.ts'
import { OutboundGuard } from './outbound-guard.ts'
import { TlsProbe } from './tls-probe.ts'

/** An authority that ends within this is warned of at each start, in ms. */
const AUTHORITY_ENDING_MS = 90 * 86_400_000

const HTTPS_PORT = 443

export interface InterceptConfig {
  readonly dataDir: string
  readonly intercept: { readonly hosts: readonly string[] }
  readonly proxy: { readonly forward: readonly string[]; readonly stalledSendMs: number }
  readonly upstreams: {
    readonly default: string
    readonly registries: Readonly<Record<string, RegistryConfig>>
    readonly allow: readonly string[]
  }
}

export interface MakeInterceptorComponents extends Pick<InterceptorComponents, 'desk' | 'metrics'> {
  readonly logger: Logger
  readonly clock: Clock
}

/**
 * @param host that the proxy listens on
 * @throws PantalaError CONFIG_INVALID | DATA_DIR_UNUSABLE for an authority or a caFile that cannot be used
 */
export async function makeInterceptor(
  components: MakeInterceptorComponents,
  config: InterceptConfig,
  host: string,
): Promise<{ interceptor: Interceptor; guard: OutboundGuard }> {
  const { logger, clock } = components
  const hosts = readInterceptedHosts(config.intercept.hosts)
  const { upstreams } = config
  const guard = new OutboundGuard({
    upstreams,
    forward: config.proxy.forward,
    intercepted: hosts,
    isLocal: isLoopback(host),
  })
  const authorities = readAuthorities(upstreams.registries)
  const authoritiesFor = (target: Target): readonly string[] | undefined =>
    namesOf(target)
      .map(name => authorities.get(name))
      .find(found => found !== undefined)
  const forwarder = new Forwarder({ guard, logger, authoritiesFor }, config.proxy)
  const probe = new TlsProbe({ guard, clock, authoritiesFor })
  const leaves = hosts.length === 0 ? undefined : await makeLeaves(components, config)
  const plain = new Set(
    Object.entries(upstreams.registries)
      .filter(([, { insecure }]) => insecure === true)
      .map(([name]) => canonicalRegistry(name)),
  )
  const interceptor = new Interceptor(
    { ...components, guard, forwarder, probe, leaves },
    { hosts, isPlain: registry => plain.has(canonicalRegistry(registry)) },
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

/** By registry: the usual authorities and those of its caFile. */
function readAuthorities(
  registries: Readonly<Record<string, RegistryConfig>>,
): Map<string, readonly string[]> {
  const found = new Map<string, readonly string[]>()
  for (const [name, { caFile }] of Object.entries(registries)) {
    if (caFile === undefined) continue
    try {
      found.set(canonicalRegistry(name), [...getCACertificates(), readFileSync(caFile, 'utf8')])
    } catch (error) {
      throw new PantalaError('CONFIG_INVALID', { detail: `caFile ${caFile}`, cause: error })
    }
  }
  return found
}

/** The names a registry at this target may be configured by. */
function namesOf(target: Target): readonly string[] {
  return [registryName(target, HTTPS_PORT), showTarget(target)].map(canonicalRegistry)
}
