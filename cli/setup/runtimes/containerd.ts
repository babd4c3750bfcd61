// Plans what containerd needs: a hosts.toml for each registry, and config_path where CRI does not look for them yet.
import type { ConfigView, Plan, PlannedFile, SetupOptions } from '../plan.ts'
import { planContainerdConfig } from './containerd-config.ts'
import { planHosts } from './hosts-toml.ts'

const configFile = '/etc/containerd/config.toml'

/** @throws PantalaError SETUP_CONFIG_INVALID | SETUP_CONFLICT */
export function planContainerd(view: ConfigView, options: SetupOptions): Plan {
  const config = planContainerdConfig(view, options.config ?? configFile)
  const directory = config.hostDirectories[0]!
  const registries = options.registries.length > 0 ? options.registries : [undefined]
  const hosts = registries.map(registry =>
    planHosts(view, {
      directory,
      registry,
      dfdaemon: registry?.dfdaemon ?? options.dfdaemon,
      runtime: 'containerd',
    }),
  )
  const files = [...hosts, config.file].filter((file): file is PlannedFile => file !== undefined)
  const all = options.registries.length === 0
  const notes = [
    ...config.notes,
    ...(all ? noteOwnDirectories(view, config.hostDirectories) : []),
    'With the dfdaemon down, containerd goes to the registry itself.',
  ]
  return { files, notes }
}

/** A registry with a directory of its own does not read `_default`. */
function noteOwnDirectories(view: ConfigView, directories: readonly string[]): string[] {
  const [first, ...others] = directories.map(directory => ({
    directory,
    names: view.list(directory).filter(name => name !== '_default'),
  }))
  const notes: string[] = []
  if (first !== undefined && first.names.length > 0) {
    notes.push(
      `${first.names.join(', ')}: has a directory of its own under ${first.directory}, so _default is not for it; name it with --registry to pull it through Pantala.`,
    )
  }
  for (const { directory, names } of others.filter(other => other.names.length > 0)) {
    notes.push(
      `${names.join(', ')}: what ${directory} says of it is not read any more, since ${first!.directory}/_default is found first; move it there.`,
    )
  }
  return notes
}
