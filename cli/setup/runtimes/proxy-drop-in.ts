// The systemd drop-in that gives dockerd its proxy, and what the unit already says of proxies, mirrors and the configuration file.
import { PantalaError } from '../../../shared/errors.ts'
import type { ConfigView, PlannedFile } from '../plan.ts'

const dropInDirectory = '/etc/systemd/system/docker.service.d'
const dropInName = 'pantala-proxy.conf'

/** Searched in this order; of a unit and of drop-ins with the same name, the first counts. */
const unitDirectories = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
]

/** Files that give dockerd its flags on other systems. */
const flagFiles = ['/etc/default/docker', '/etc/sysconfig/docker', '/etc/conf.d/docker']

/** What never goes through a proxy. */
export const neverProxied = ['localhost', '127.0.0.0/8', '::1']

interface UnitLine {
  readonly path: string
  readonly line: number
  readonly text: string
}

/** What the unit says that counts here. */
export interface DockerUnit {
  /** Another place of daemon.json. */
  readonly configFile: string | undefined
  /** Where --registry-mirror is given as a flag. */
  readonly mirrorFlag: string | undefined
  /** Values now in force, by upper-case name, with where they stand. */
  readonly proxies: ReadonlyMap<
    string,
    { readonly value: string; readonly place: string; readonly overrides: boolean }
  >
}

export function readDockerUnit(view: ConfigView): DockerUnit {
  const lines = listUnitLines(view)
  const flags = [
    ...lines.filter(({ text }) => /^\s*(ExecStart|Environment)\s*=/.test(text)),
    ...flagFiles.flatMap(path => splitLines(path, view.read(path) ?? '')),
  ]
  return {
    configFile: flags.map(({ text }) => /--config-file[=\s]+["']?([^\s"']+)/.exec(text)?.[1]).find(isText),
    mirrorFlag: flags.filter(({ text }) => /--registry-mirror\b/.test(text)).map(placeOf)[0],
    proxies: readProxies(view, lines),
  }
}

function listUnitLines(view: ConfigView): UnitLine[] {
  const find = (name: string): string | undefined =>
    unitDirectories.map(directory => `${directory}/${name}`).find(path => view.read(path) !== undefined)
  const names = new Set(unitDirectories.flatMap(directory => view.list(`${directory}/docker.service.d`)))
  const dropIns = [...names]
    .filter(name => name.endsWith('.conf') && name !== dropInName)
    .sort()
    .map(name => find(`docker.service.d/${name}`))
  return [find('docker.service'), ...dropIns]
    .filter(isText)
    .flatMap(path => splitLines(path, view.read(path)!))
}

/** Lines without comments; one that goes on with a backslash is one line, known by its first. */
function splitLines(path: string, text: string): UnitLine[] {
  const lines: { path: string; line: number; text: string }[] = []
  let goesOn = false
  for (const [index, one] of text.split(/\r?\n/).entries()) {
    if (/^\s*[#;]/.test(one)) continue
    const part = one.replace(/\\$/, ' ')
    if (goesOn) lines.at(-1)!.text += part
    else lines.push({ path, line: index + 1, text: part })
    goesOn = one.endsWith('\\')
  }
  return lines
}

const proxyPattern = /\b(https?_proxy|no_proxy)=("([^"]*)"|'([^']*)'|[^\s"']*)/gi

function readProxies(view: ConfigView, lines: readonly UnitLine[]): DockerUnit['proxies'] {
  const proxies = new Map<string, { value: string; place: string; overrides: boolean }>()
  const take = (line: UnitLine, overrides: boolean): void => {
    for (const [, name, raw, double, single] of line.text.matchAll(proxyPattern)) {
      const value = (double ?? single ?? raw!).replaceAll('%%', '%')
      proxies.set(name!.toUpperCase(), { value, place: placeOf(line), overrides })
    }
  }
  for (const line of lines.filter(({ text }) => /^\s*Environment\s*=/.test(text)))
    take(line, (line.path.split('/').at(-1) ?? '') > dropInName && line.path.includes('.service.d/'))
  // What comes from a file of variables wins over every Environment= line.
  for (const { text } of lines) {
    const path = /^\s*EnvironmentFile\s*=\s*-?(\/\S+)/.exec(text)?.[1]
    if (path !== undefined) for (const line of splitLines(path, view.read(path) ?? '')) take(line, true)
  }
  return proxies
}

/**
 * The drop-in; undefined where it is already so.
 * @throws PantalaError SETUP_CONFLICT if something that systemd reads later sets a proxy too
 */
export function planDropIn(
  view: ConfigView,
  unit: DockerUnit,
  proxy: string,
): { file: PlannedFile | undefined; notes: string[] } {
  for (const [name, { place, overrides }] of unit.proxies) {
    if (overrides && name !== 'NO_PROXY')
      throw new PantalaError('SETUP_CONFLICT', {
        detail: `${place} sets ${name} and would win over Pantala’s drop-in; take it out there first`,
      })
  }
  const path = `${dropInDirectory}/${dropInName}`
  const noProxy = mergeNoProxy(unit.proxies.get('NO_PROXY')?.value)
  const text = [
    '# Written by `pantala setup docker --proxy`; its --undo takes it away.',
    '[Service]',
    ...Object.entries({ HTTP_PROXY: proxy, HTTPS_PROXY: proxy, NO_PROXY: noProxy }).map(
      ([name, value]) => `Environment="${name}=${value.replaceAll('%', '%%')}"`,
    ),
    '',
  ].join('\n')
  const before = view.read(path)
  const notes = ['HTTPS_PROXY', 'HTTP_PROXY'].flatMap(name => {
    const old = unit.proxies.get(name)
    return old === undefined || old.value === '' || old.value === proxy ? [] : [noteOldProxy(name, old.place)]
  })
  if (before === text) return { file: undefined, notes }
  const edits = [{ offset: 0, removed: before ?? '', inserted: text }]
  return { file: { path, format: 'whole', before, edits, activation: 'daemon-restart' }, notes }
}

/** The proxy itself is not shown, since it may hold a password. */
export function noteOldProxy(name: string, place: string): string {
  return `${place} has a ${name} of its own, which dockerd will not use any more; if the way out leads through it, give it to the dfdaemon.`
}

/** What was never proxied stays so. */
export function mergeNoProxy(old: string | undefined): string {
  const named = (old ?? '').split(',').map(name => name.trim())
  return [...new Set([...named.filter(name => name !== ''), ...neverProxied])].join(',')
}

function placeOf({ path, line }: UnitLine): string {
  return `${path}:${line}`
}

function isText(value: string | undefined): value is string {
  return value !== undefined
}
