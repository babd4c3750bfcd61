// Keeps Pantala's own certificate authority on disk: made once, the key for its owner alone, and looked over at each start.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chown, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { PantalaError } from '../../../shared/errors.ts'
import { constrainedHosts, type KeyedCertificate, makeAuthority } from './authority-certificate.ts'

/** Where runtimes' set-up finds the certificate: `<dataDir>/intercept-ca/ca.crt`. */
export interface AuthorityPaths {
  readonly folder: string
  readonly certificate: string
  readonly key: string
}

export interface Authority extends KeyedCertificate {
  /** Hosts it can vouch for, each with the names below it. */
  readonly hosts: readonly string[]
  /** Last moment it holds, in ms since 1970. */
  readonly endsMs: number
  /** SHA-256 of the certificate, as tools show it. */
  readonly fingerprint: string
}

export function authorityPaths(dataDir: string): AuthorityPaths {
  const folder = join(dataDir, 'intercept-ca')
  return { folder, certificate: join(folder, 'ca.crt'), key: join(folder, 'ca.key') }
}

/** Reads the authority; undefined if there is none. @throws PantalaError CONFIG_INVALID for files that cannot be used as they are */
export async function readAuthority(dataDir: string): Promise<Authority | undefined> {
  const paths = authorityPaths(dataDir)
  const certificate = await readIfThere(paths.certificate)
  // The key is written first: alone, it is what a start that was cut short left behind.
  if (certificate === undefined) return undefined
  const key = await readIfThere(paths.key)
  if (key === undefined) throw unusable(paths.key, 'is missing')
  const { mode } = await stat(paths.key)
  if ((mode & 0o077) !== 0)
    throw unusable(paths.key, `others may read it (mode ${(mode & 0o777).toString(8)})`)
  try {
    const parsed = new X509Certificate(certificate)
    const hosts = constrainedHosts(certificate)
    if (!parsed.ca || hosts === undefined) throw new Error('no certificate authority held to some hosts')
    if (!parsed.checkPrivateKey(createPrivateKey(key))) throw new Error('the key beside it is another’s')
    return { certificate, key, hosts, endsMs: Date.parse(parsed.validTo), fingerprint: parsed.fingerprint256 }
  } catch (error) {
    throw unusable(paths.certificate, (error as Error).message, error)
  }
}

/** Makes an authority for these hosts and puts it in the place of the one that may be there. @throws PantalaError DATA_DIR_UNUSABLE */
export async function writeAuthority(
  dataDir: string,
  hosts: readonly string[],
  nowMs: number,
): Promise<Authority> {
  const made = await makeAuthority(hosts, hostname().slice(0, 24), nowMs)
  const { folder, certificate, key } = authorityPaths(dataDir)
  try {
    await mkdir(folder, { recursive: true, mode: 0o755 })
    // Without a certificate there is no authority, so that a key never stands beside another's.
    await rm(certificate, { force: true })
    await writeWhole(key, made.key, 0o600)
    await writeWhole(certificate, made.certificate, 0o644)
    await giveToOwner(dataDir, [folder, key, certificate])
  } catch (error) {
    throw new PantalaError('DATA_DIR_UNUSABLE', { detail: folder, cause: error })
  }
  return (await readAuthority(dataDir))!
}

/** The authority that is there, or a new one for these hosts. */
export async function ensureAuthority(
  dataDir: string,
  hosts: readonly string[],
  nowMs: number,
): Promise<Authority> {
  return (await readAuthority(dataDir)) ?? (await writeAuthority(dataDir, hosts, nowMs))
}

/** True if the authority can vouch for the host. */
export function vouchesFor(authority: Pick<Authority, 'hosts'>, host: string): boolean {
  return authority.hosts.some(permitted => host === permitted || host.endsWith(`.${permitted}`))
}

/** What root makes for a dfdaemon that runs as someone else belongs to whom the data directory does. */
async function giveToOwner(dataDir: string, files: readonly string[]): Promise<void> {
  if (process.getuid?.() !== 0) return
  const { uid, gid } = await stat(dataDir)
  for (const file of files) await chown(file, uid, gid)
}

async function writeWhole(file: string, text: string, mode: number): Promise<void> {
  const draft = `${file}.new`
  await rm(draft, { force: true })
  const handle = await open(draft, 'wx', mode)
  try {
    // Whatever the process's umask takes away is given back.
    await handle.chmod(mode)
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, file)
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new PantalaError('DATA_DIR_UNUSABLE', { detail: file, cause: error })
  }
}

function unusable(file: string, reason: string, cause?: unknown): PantalaError {
  return new PantalaError('CONFIG_INVALID', {
    detail: `${file}: ${reason}; mend it, or make a new authority with pantala ca init --force`,
    cause,
  })
}
