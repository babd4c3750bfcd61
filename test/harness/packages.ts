// Skips a test aloud when a package of the distribution is missing; in CI, where all must be there, fails it instead.
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { TestContext } from 'node:test'

/** Which Debian package brings a command. */
const packageOf: Readonly<Record<string, string>> = {
  'docker-registry': 'docker-registry',
  dockerd: 'docker.io',
  docker: 'docker-cli (or docker.io)',
  containerd: 'containerd',
  ctr: 'containerd',
  runc: 'runc',
  skopeo: 'skopeo',
  podman: 'podman',
  buildah: 'buildah',
  openssl: 'openssl',
  unshare: 'util-linux',
  nginx: 'nginx-core',
  ip: 'iproute2',
  tc: 'iproute2',
}

/** Where a command lies; undefined if it is not installed. Service daemons are looked for outside PATH too. */
export function findCommand(name: string): string | undefined {
  const directories = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    '/usr/sbin',
    '/sbin',
    '/usr/local/sbin',
  ]
  return directories.map(directory => join(directory, name)).find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * True if every command is there. If not, says so on a line of its own and skips the test, or fails it where CI=true.
 * A test begins with `if (!requireCommands(t, 'docker-registry')) return`.
 */
export function requireCommands(t: TestContext, ...commands: readonly string[]): boolean {
  const missing = commands.filter(command => findCommand(command) === undefined)
  if (missing.length === 0) return true
  const packages = missing.map(command => packageOf[command] ?? command)
  return skipAloud(t, `${missing.join(', ')} not found; install ${packages.join(', ')}`)
}

/** The same for the rights of root, which daemons and network namespaces need. */
export function requireRoot(t: TestContext): boolean {
  return process.getuid?.() === 0 ? true : skipAloud(t, 'needs root')
}

/** Skips the test with its reason on a line of its own, or fails it in CI. */
export function skipAloud(t: TestContext, reason: string): false {
  if (process.env['CI'] === 'true') throw new Error(`a skip is a failure in CI: ${reason}`)
  process.stderr.write(`\nSKIP ${t.name}: ${reason}\n`)
  t.skip(reason)
  return false
}
