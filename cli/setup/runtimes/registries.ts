// Plans what podman, skopeo, buildah and CRI-O need: for each registry a mirror whose path names the registry.
import { homedir } from 'node:os'
import { PantalaError } from '../../../shared/errors.ts'
import type { ConfigView, NamedRegistry, Plan, SetupOptions } from '../plan.ts'
import { planRegistries, type RegistryMirror } from './registries-conf.ts'

/**
 * What is wrong with naming this registry, or undefined. A name is a repository path behind the mirror's address, so a port has no place in
 * it, and a first part without a dot would not be taken for a registry.
 */
export function faultOfRegistry({ name, dfdaemon }: NamedRegistry): string | undefined {
  if (dfdaemon !== undefined) return undefined
  if (name.includes(':'))
    return `${name}: a mirror's path can't hold a port; give the registry a port in the dfdaemon’s proxy.registries and write --registry ${name}=http://127.0.0.1:PORT`
  if (!name.includes('.') && name !== 'localhost')
    return `${name}: without a dot it can't be told from a repository; give it a port in the dfdaemon’s proxy.registries and write --registry ${name}=http://127.0.0.1:PORT`
  return undefined
}

/** One plan for all that read the same files: podman's and CRI-O's wishes together. @throws PantalaError SETUP_CONFIG_INVALID | SETUP_CONFLICT */
export function planRegistriesUsers(
  view: ConfigView,
  users: readonly { readonly runtime: 'crio' | 'podman'; readonly options: SetupOptions }[],
  home = homedir(),
): Plan {
  const mirrors = new Map<string, RegistryMirror>()
  for (const { options } of users) {
    const registries = options.registries.length > 0 ? options.registries : [{ name: 'docker.io' }]
    for (const registry of registries) {
      const mirror = mirrorOf(registry, options.dfdaemon)
      const known = mirrors.get(mirror.registry)
      if (known !== undefined && known.location !== mirror.location)
        throw new PantalaError('SETUP_CONFLICT', {
          detail: `podman and CRI-O read the same files, and ${mirror.registry} was set up at ${known.location} for the other`,
        })
      mirrors.set(mirror.registry, known ?? mirror)
    }
  }
  const isRead = users.some(({ runtime }) => runtime === 'crio')
  const plan = planRegistries(view, [...mirrors.values()], isRead ? 'reload' : 'nothing')
  return {
    files: plan.files,
    notes: [
      ...plan.notes,
      ...noteOwnConfiguration(view, home),
      'podman, skopeo, buildah and CRI-O all read these files. With the dfdaemon down, they go to the registry itself; a pull under way fails.',
    ],
  }
}

/** A user's own registries.conf is read instead of the system's, not beside it. */
function noteOwnConfiguration(view: ConfigView, home: string): string[] {
  const path = `${home}/.config/containers/registries.conf`
  return view.read(path) === undefined
    ? []
    : [`${path} is read instead of these files by whoever it belongs to.`]
}

function mirrorOf({ name, scheme, dfdaemon }: NamedRegistry, common: string): RegistryMirror {
  const url = new URL(dfdaemon ?? common)
  return {
    registry: name,
    location: dfdaemon === undefined ? `${url.host}/${name}` : url.host,
    insecure: url.protocol === 'http:',
    registryInsecure: scheme === undefined ? undefined : scheme === 'http',
  }
}
