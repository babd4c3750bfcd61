// `pantala setup`: writes a runtime's own configuration so that it pulls through this host's dfdaemon, and takes it back byte for byte.
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import type { NamedRegistry, RuntimeName, SetupOptions } from '../setup/plan.ts'
import { defaultCaFile, readAddress, readCertificate, readRegistry } from '../setup/setup-flags.ts'

interface SetupFlags {
  readonly dfdaemon: string
  readonly registry?: readonly NamedRegistry[]
  readonly root: string
  readonly config?: string
  readonly dryRun?: true
  readonly undo?: true
  readonly force?: true
  readonly json?: true
  readonly proxy?: string | true
  readonly mirrors?: boolean
  readonly ca?: string
  readonly containerdStore?: true
}

const descriptions: Readonly<Record<RuntimeName, string>> = {
  docker: 'dockerd: registry-mirrors for Docker Hub’s names; --proxy for any other registry',
  containerd: 'containerd and Kubernetes on it: hosts.toml for every registry, or those named',
  crio: 'CRI-O: a mirror for each registry named',
  podman: 'podman, skopeo and buildah: a mirror for each registry named',
}

export function addSetupCommand(program: Command): void {
  const setup = program
    .command('setup')
    .helpCommand(false)
    .description('write a runtime’s own configuration so that it pulls through dfdaemon, or take that back')
  for (const [name, description] of Object.entries(descriptions)) {
    const runtime = name as RuntimeName
    const command = setup
      .command(runtime)
      .description(description)
      .option('--dfdaemon <url>', 'the dfdaemon’s proxy', readAddress, 'http://127.0.0.1:65001')
      .option('--registry <name>', describeRegistry(runtime), readRegistry)
    if (runtime === 'docker') addDockerFlags(command)
    if (runtime === 'docker' || runtime === 'containerd')
      command.option('--config <file>', 'the runtime’s main configuration file, if it is elsewhere')
    command
      .option('--dry-run', 'show what would change as a diff; write nothing')
      .option('--undo', 'put back what was there before')
      .option('--force', 'where others changed Pantala’s part of a file: put back the bytes of before')
      .option('--root <dir>', 'directory that stands for /, to set up an image or a mounted disk', '/')
      .option('--json', 'print one JSON object')
      .exitOverride()
      .helpOption('--help', 'show help')
      .action((flags: SetupFlags, self: Command) => run(runtime, flags, self))
  }
}

function describeRegistry(runtime: RuntimeName): string {
  const form =
    'can be given again; http:// before it for plain HTTP, =URL behind it for an address of its own'
  if (runtime === 'docker') return `registry to trust through --proxy, or for hosts.toml (${form})`
  return `registry, as registry.lab:5000 [${runtime === 'containerd' ? 'all' : 'docker.io'}] (${form})`
}

function addDockerFlags(command: Command): void {
  command
    .option('--proxy [url]', 'dfdaemon as dockerd’s HTTP and HTTPS proxy too [the same address]', readAddress)
    .option('--no-mirrors', 'leave registry-mirrors alone')
    .option('--ca <file>', `the certificate of Pantala’s own authority [${defaultCaFile}]`)
    .addOption(
      new Option(
        '--containerd-store',
        'write hosts.toml: dockerd keeps images in containerd [as daemon.json says]',
      ),
    )
}

async function run(runtime: RuntimeName, flags: SetupFlags, self: Command): Promise<void> {
  const { runSetup } = await import('../setup/run-setup.ts')
  const { RootedFiles } = await import('../setup/rooted-files.ts')
  const { renderJson, renderText } = await import('../setup/show-changes.ts')
  const undo = flags.undo === true
  const dryRun = flags.dryRun === true
  const fault = faultOfRoot(flags.root) ?? (undo ? faultOfUndo(self) : await faultOfSetup(runtime, flags))
  if (fault !== undefined) self.error(`error: ${fault}`, { exitCode: 2 })
  const root = resolve(flags.root)
  const options = undo ? undefined : await makeOptions(runtime, root, flags)
  const result = runSetup({
    runtime,
    files: new RootedFiles(root),
    options,
    dryRun,
    force: flags.force === true,
  })
  const shown = { runtime, undo, dryRun }
  process.stdout.write(flags.json === true ? renderJson(result, shown) : renderText(result, shown))
}

function faultOfRoot(root: string): string | undefined {
  return statSync(root, { throwIfNoEntry: false })?.isDirectory()
    ? undefined
    : `--root ${root} is no directory`
}

/** An undo takes back all that was set up; what says otherwise would be overheard. */
function faultOfUndo(self: Command): string | undefined {
  const strange = ['registry', 'proxy', 'mirrors', 'ca', 'containerdStore', 'config'].find(
    name => self.getOptionValueSource(name) === 'cli',
  )
  return strange === undefined ? undefined : '--undo takes everything back; give it without what was set up'
}

async function faultOfSetup(runtime: RuntimeName, flags: SetupFlags): Promise<string | undefined> {
  if (runtime === 'docker') {
    if (flags.mirrors === false && flags.proxy === undefined && flags.containerdStore === undefined)
      return '--no-mirrors leaves nothing to do; give --proxy or --containerd-store too'
    if (flags.ca !== undefined && flags.proxy === undefined) return '--ca is for --proxy'
  }
  if (runtime === 'docker' || runtime === 'containerd') return undefined
  const { faultOfRegistry } = await import('../setup/runtimes/registries.ts')
  return flags.registry?.map(faultOfRegistry).find(fault => fault !== undefined)
}

async function makeOptions(runtime: RuntimeName, root: string, flags: SetupFlags): Promise<SetupOptions> {
  const { dfdaemon, registry: registries = [], config, containerdStore } = flags
  const proxy = flags.proxy === true ? dfdaemon : flags.proxy
  const trusted = registries.filter(({ name, scheme }) => name !== 'docker.io' && scheme !== 'http')
  const hosts = trusted.map(({ name }) => name.replace(/:\d+$/, ''))
  return {
    dfdaemon,
    registries,
    mirrors: runtime === 'docker' && flags.mirrors !== false,
    ...(proxy === undefined ? {} : { proxy }),
    ...(containerdStore === undefined ? {} : { containerdStore }),
    ...(proxy !== undefined && hosts.length > 0
      ? { caPem: await readCertificate(root, flags.ca, hosts) }
      : {}),
    ...(config === undefined ? {} : { config }),
  }
}
