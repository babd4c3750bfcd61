// Reads what was asked of `pantala setup` from its flags: addresses, registry names, the certificate.
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { InvalidArgumentError } from 'commander'
import { PantalaError } from '../../shared/errors.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'
import type { NamedRegistry } from './plan.ts'
import { RootedFiles } from './rooted-files.ts'

/** Registries that may be named. */
const REGISTRIES_MAX = 256

/** Where a dfdaemon keeps the certificate of the authority it made. */
export const defaultCaFile = '/var/lib/pantala/dfdaemon/intercept-ca/ca.crt'

/** An address of the dfdaemon: scheme, host and port alone, which is all that runtimes take. */
export function readAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new InvalidArgumentError('It must be an http:// or https:// URL.')
  if (
    url.username !== '' ||
    url.password !== '' ||
    url.pathname !== '/' ||
    url.search !== '' ||
    url.hash !== ''
  )
    throw new InvalidArgumentError('It must have a host and a port only: runtimes refuse more.')
  return url.origin
}

const registryPattern =
  /^(?:(https?):\/\/)?((?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::([0-9]{1,5}))?)\/?$/i

/** `[http://]host[:port][=URL of a dfdaemon's own address for it]`. */
export function readRegistry(text: string, before: readonly NamedRegistry[] = []): readonly NamedRegistry[] {
  const equals = text.indexOf('=')
  const parts = registryPattern.exec(equals < 0 ? text : text.slice(0, equals))
  if (parts === null || Number(parts[3] ?? 1) > 65_535 || Number(parts[3] ?? 1) === 0)
    throw new InvalidArgumentError('It must be a registry’s name, as registry.lab:5000.')
  const name = canonicalRegistry(parts[2]!)
  if (before.some(registry => registry.name === name))
    throw new InvalidArgumentError(`${name} is named twice.`)
  if (before.length >= REGISTRIES_MAX)
    throw new InvalidArgumentError(`At most ${REGISTRIES_MAX} can be named.`)
  const scheme = parts[1]?.toLowerCase() as NamedRegistry['scheme']
  return [
    ...before,
    {
      name,
      ...(scheme === undefined ? {} : { scheme }),
      ...(equals < 0 ? {} : { dfdaemon: readAddress(text.slice(equals + 1)) }),
    },
  ]
}

/**
 * The certificate of Pantala's own authority, as PEM. The default place lies under the root, a file that was named lies where it says.
 * @throws PantalaError SETUP_CONFLICT if there is none, or it can't vouch for all the hosts; SETUP_CONFIG_INVALID if it is no authority's
 * certificate, or holds a key
 */
export async function readCertificate(
  root: string,
  named: string | undefined,
  hosts: readonly string[],
): Promise<string> {
  const text =
    named === undefined ? new RootedFiles(root).read(defaultCaFile)?.bytes.toString() : readNamed(named)
  const path = named ?? defaultCaFile
  if (text === undefined) {
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${path} is not there; name the registries in the dfdaemon’s intercept.hosts, then pantala ca init makes it; if it is elsewhere, say --ca`,
    })
  }
  const refuse = (why: string, cause?: unknown): PantalaError =>
    new PantalaError('SETUP_CONFIG_INVALID', { detail: `${path}: ${why}`, cause })
  if (text.includes('PRIVATE KEY')) throw refuse('it holds a private key, which must not be handed out')
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(text)
  } catch (error) {
    throw refuse('it is no certificate in PEM', error)
  }
  if (!certificate.ca) throw refuse('it is not the certificate of an authority')
  await refuseStrangers(path, text, hosts)
  return text
}

/** Pantala's authority is held to the hosts it was made for; a pull from others would fail on trust. */
async function refuseStrangers(path: string, pem: string, hosts: readonly string[]): Promise<void> {
  const { constrainedHosts } = await import('../../dfdaemon/intercept/authority/authority-certificate.ts')
  const { vouchesFor } = await import('../../dfdaemon/intercept/authority/authority-files.ts')
  const known = constrainedHosts(pem)
  const strangers = known === undefined ? [] : hosts.filter(host => !vouchesFor({ hosts: known }, host))
  if (strangers.length > 0) {
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${path} can't vouch for ${strangers.join(', ')}; add to intercept.hosts, then pantala ca init --force`,
    })
  }
}

function readNamed(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new PantalaError('SETUP_CONFIG_INVALID', {
      detail: `${path}: ${(error as Error).message}`,
      cause: error,
    })
  }
}
