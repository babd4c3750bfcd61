// The network that runtime tests live in: a namespace with loopback alone, where the names of the tests' registries, Docker Hub's among them,
// stand for addresses of its own. Nothing in it reaches another machine, and it goes with the last process in it.
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { runCommand } from './container-engines.ts'
import { skipAloud } from './packages.ts'
import { makeAuthority } from './test-authority.ts'

/** Where the lab keeps its certificates; set inside the namespace only. */
const labVariable = 'PANTALA_TEST_LAB'

/**
 * Host names and their addresses. Not 127.0.0.0/8: dockerd takes a registry there for an insecure one, whatever its name.
 * The registries' ports are those of http and https, so that a name is whole without one.
 */
export const labHosts = {
  'registry-1.docker.io': '10.88.0.1',
  'index.docker.io': '10.88.0.1',
  'token.lab': '10.88.0.2',
  'front.lab': '10.88.0.3',
  'storage.lab': '10.88.0.4',
  'faulty.lab': '10.88.0.5',
  'anonymous-http.lab': '10.88.0.11',
  'basic-http.lab': '10.88.0.12',
  'token-http.lab': '10.88.0.13',
  'anonymous-tls.lab': '10.88.0.21',
  'basic-tls.lab': '10.88.0.22',
  'token-tls.lab': '10.88.0.23',
} as const

export type LabHost = keyof typeof labHosts

/** Files of the lab's own certificate authority. */
export interface LabFiles {
  /** The authority's certificate: what clients trust. */
  readonly ca: string
  /** Certificate and key of every name in `labHosts`. */
  readonly certificate: string
  readonly key: string
  /** The usual roots of the system and the lab's own. */
  readonly roots: string
}

/** The lab's files; undefined outside of it. */
export function findLab(): LabFiles | undefined {
  const directory = process.env[labVariable]
  if (directory === undefined || !existsSync(directory)) return undefined
  const at = (name: string) => join(directory, name)
  return { ca: at('ca.pem'), certificate: at('server.pem'), key: at('server.key'), roots: at('roots.pem') }
}

/** True inside the lab; elsewhere the test is skipped aloud. */
export function requireLab(t: TestContext): boolean {
  return (
    findLab() !== undefined || skipAloud(t, 'runs in a namespace of its own, as root: npm run test:runtimes')
  )
}

/** Command and arguments that run a program in namespaces of its own; whatever it leaves behind dies with it. */
export const namespaceCommand: readonly string[] = [
  'unshare',
  '--net',
  '--mount',
  '--propagation=private',
  '--pid',
  '--fork',
  '--mount-proc',
  '--kill-child=KILL',
]

/** Makes the lab in the namespace this process is in; what is under `directory` must stay until the end. Returns the environment that tells of it. */
export async function makeLab(directory: string): Promise<Record<string, string>> {
  mkdirSync(directory, { recursive: true })
  const at = (name: string) => join(directory, name)
  await runCommand('ip', ['link', 'set', 'lo', 'up'])
  for (const address of new Set(Object.values(labHosts)))
    await runCommand('ip', ['address', 'add', `${address}/32`, 'dev', 'lo'])
  const names = Object.entries(labHosts).map(([name, address]) => `${address} ${name}`)
  writeFileSync(at('hosts'), ['127.0.0.1 localhost', ...names, ''].join('\n'))
  // No name server: a name that is not the lab's is unknown at once.
  writeFileSync(at('resolv.conf'), '')
  for (const name of ['hosts', 'resolv.conf']) await runCommand('mount', ['--bind', at(name), `/etc/${name}`])
  // What podman and the like know of all blobs, whatever their root, stays in the lab.
  const containers = '/var/lib/containers'
  mkdirSync(containers, { recursive: true })
  mkdirSync(at('containers'))
  await runCommand('mount', ['--bind', at('containers'), containers])
  await makeAuthority(directory, Object.keys(labHosts))
  const system = '/etc/ssl/certs/ca-certificates.crt'
  writeFileSync(at('roots.pem'), existsSync(system) ? readFileSync(system) : '')
  appendFileSync(at('roots.pem'), readFileSync(at('ca.pem')))
  return { [labVariable]: directory }
}
