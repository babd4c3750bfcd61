// Plans what dockerd needs: registry-mirrors for Docker Hub's names, and for other registries the proxy with trust, or hosts.toml files.
import { PantalaError } from '../../../shared/errors.ts'
import type { ConfigView, NamedRegistry, Plan, PlannedFile, SetupOptions } from '../plan.ts'
import { findMember, type JsonNode, jsonValue } from '../text/json-text.ts'
import { compareLeaves, listLeaves } from '../text/leaves.ts'
import { applyEdits } from '../text/text-edits.ts'
import { editDaemonJson, isLaterMirror, readDaemonJson } from './daemon-json.ts'
import { planHosts } from './hosts-toml.ts'
import { type DockerUnit, mergeNoProxy, noteOldProxy, planDropIn, readDockerUnit } from './proxy-drop-in.ts'

const defaultDaemonJson = '/etc/docker/daemon.json'
const certsDirectory = '/etc/docker/certs.d'
const certificateName = 'pantala.crt'

/** @throws PantalaError SETUP_CONFIG_INVALID | SETUP_CONFLICT */
export function planDocker(view: ConfigView, options: SetupOptions): Plan {
  const unit = readDockerUnit(view)
  const path = options.config ?? unit.configFile ?? defaultDaemonJson
  const text = view.read(path)
  const document = readDaemonJson(path, text ?? '')
  if (options.mirrors && unit.mirrorFlag !== undefined) {
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${unit.mirrorFlag} gives dockerd --registry-mirror as a flag, and dockerd does not start with both; move it to ${path}`,
    })
  }
  const proxied = planProxy(view, options, unit, document)
  const daemon = planDaemonJson(path, text, options, proxied.proxies)
  const hosts = planStore(view, options, document)
  const files = [...(daemon === undefined ? [] : [daemon]), ...proxied.files, ...hosts]
  return {
    files,
    notes: [
      ...(options.mirrors && isLaterMirror(document, options.dfdaemon)
        ? [
            `${path} has ${options.dfdaemon} behind other mirrors, which are asked before it; it was left there.`,
          ]
        : []),
      ...proxied.notes,
      ...describeFallback(options),
    ],
  }
}

function planDaemonJson(
  path: string,
  before: string | undefined,
  options: SetupOptions,
  proxies: Readonly<Record<string, string>> | undefined,
): PlannedFile | undefined {
  const text = before ?? ''
  const wish = {
    ...(options.mirrors ? { mirror: options.dfdaemon } : {}),
    ...(proxies === undefined ? {} : { proxies }),
  }
  const edits = editDaemonJson(path, text, wish)
  if (edits.length === 0) return undefined
  checkMeaning(path, text, applyEdits(text, edits), wish)
  const document = readDaemonJson(path, text)
  const hadMirrors = document !== undefined && findMember(document, 'registry-mirrors') !== undefined
  return {
    path,
    format: 'json',
    before,
    edits,
    activation: proxies === undefined ? 'reload' : 'restart',
    // On reload dockerd leaves settings alone that daemon.json does not name any more.
    undoActivation: proxies === undefined && hadMirrors ? 'reload' : 'restart',
  }
}

/** The edited text must mean what it meant, with the wish granted; anything else is a fault of this program, found before it is written. */
function checkMeaning(
  path: string,
  before: string,
  after: string,
  wish: { mirror?: string; proxies?: Readonly<Record<string, string>> },
): void {
  const plain = (text: string): Record<string, unknown> => {
    const document = readDaemonJson(path, text)
    return document === undefined ? {} : (jsonValue(document) as Record<string, unknown>)
  }
  const old = plain(before)
  const made = plain(after)
  const mirrors = (old['registry-mirrors'] ?? []) as string[]
  const wanted = {
    ...old,
    ...(wish.mirror === undefined || (made['registry-mirrors'] as string[]).length === mirrors.length
      ? {}
      : { 'registry-mirrors': [wish.mirror, ...mirrors] }),
    ...(wish.proxies === undefined ? {} : { proxies: { ...(old['proxies'] as object), ...wish.proxies } }),
  }
  const change = compareLeaves(listLeaves(wanted), listLeaves(made))
  if (change.added.length > 0 || change.removed.length > 0)
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${path} is written in a way that can't be edited safely`,
    })
}

interface ProxyPlan {
  readonly files: readonly PlannedFile[]
  /** Values for daemon.json, where dockerd has its proxies from there. */
  readonly proxies: Readonly<Record<string, string>> | undefined
  readonly notes: readonly string[]
}

function planProxy(
  view: ConfigView,
  options: SetupOptions,
  unit: DockerUnit,
  document: (JsonNode & { kind: 'object' }) | undefined,
): ProxyPlan {
  const { proxy } = options
  if (proxy === undefined) return { files: [], proxies: undefined, notes: [] }
  const trusted = options.registries.filter(isIntercepted)
  const trust = planTrust(view, trusted, options.caPem)
  const notes = [
    ...(trusted.length > 0
      ? [
          `intercept.hosts of the dfdaemon must name ${trusted.map(({ name }) => name).join(', ')}; TLS to all others is tunnelled untouched.`,
        ]
      : [
          'No registry over TLS was named with --registry: all TLS is tunnelled untouched, and only plain HTTP is shared.',
        ]),
    ...(options.registries.some(({ name }) => name === 'docker.io')
      ? ['For Docker Hub dockerd reads no certificates from certs.d; its images come by registry-mirrors.']
      : []),
  ]
  const node = document && findMember(document, 'proxies')?.node
  if (node !== undefined) {
    // daemon.json wins over the environment (dockerd 23 and later, the only ones that take it).
    const old = (key: string): string => {
      const member = findMember(node, key)
      const value = member && jsonValue(member.node)
      return typeof value === 'string' ? value : ''
    }
    const others = ['https-proxy', 'http-proxy'].filter(key => old(key) !== '' && old(key) !== proxy)
    return {
      files: trust,
      proxies: { 'http-proxy': proxy, 'https-proxy': proxy, 'no-proxy': mergeNoProxy(old('no-proxy')) },
      notes: [...notes, ...others.map(key => noteOldProxy(key, 'daemon.json'))],
    }
  }
  const dropIn = planDropIn(view, unit, proxy)
  return {
    files: [...(dropIn.file === undefined ? [] : [dropIn.file]), ...trust],
    proxies: undefined,
    notes: [...notes, ...dropIn.notes],
  }
}

/** True for registries whose TLS the dfdaemon answers, so that its authority must be trusted for them. */
function isIntercepted({ name, scheme }: NamedRegistry): boolean {
  return name !== 'docker.io' && scheme !== 'http'
}

function certificateOf({ name }: NamedRegistry): string {
  return `${certsDirectory}/${name}/${certificateName}`
}

/** dockerd trusts every *.crt in a registry's directory, read at each pull; Docker Hub's own it does not read. */
function planTrust(
  view: ConfigView,
  registries: readonly NamedRegistry[],
  pem: string | undefined,
): PlannedFile[] {
  if (pem === undefined) return []
  return registries.flatMap((registry): PlannedFile[] => {
    const path = certificateOf(registry)
    const before = view.read(path)
    if (before === pem) return []
    const edits = [{ offset: 0, removed: before ?? '', inserted: pem }]
    return [{ path, format: 'whole', before, edits, activation: 'nothing' }]
  })
}

/** With the containerd image store dockerd reads hosts.toml as containerd does. */
function planStore(
  view: ConfigView,
  options: SetupOptions,
  document: (JsonNode & { kind: 'object' }) | undefined,
): PlannedFile[] {
  const features = document && findMember(document, 'features')?.node
  const feature = features && findMember(features, 'containerd-snapshotter')?.node
  const isOn = options.containerdStore ?? (feature !== undefined && jsonValue(feature) === true)
  if (!isOn) return []
  const registries = options.registries.length > 0 ? options.registries : [undefined]
  return registries.flatMap(registry => {
    const isTrusted = options.caPem !== undefined && registry !== undefined && isIntercepted(registry)
    const file = planHosts(view, {
      directory: certsDirectory,
      registry,
      dfdaemon: registry?.dfdaemon ?? options.dfdaemon,
      runtime: 'docker',
      newCertificates: isTrusted ? [certificateOf(registry)] : [],
    })
    return file ?? []
  })
}

function describeFallback({ mirrors, proxy }: SetupOptions): string[] {
  return [
    ...(mirrors ? ['With the dfdaemon down, dockerd pulls Docker Hub’s images from Docker Hub.'] : []),
    ...(proxy !== undefined
      ? [
          `Through a proxy dockerd has no way round: with the dfdaemon down, every pull that is not in NO_PROXY fails${mirrors ? ', also the fallback to Docker Hub' : ''}.`,
        ]
      : []),
  ]
}
