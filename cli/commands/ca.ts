// `pantala ca`: makes the certificate authority that a dfdaemon answers for intercepted hosts with, and shows what there is.
import type { Command } from 'commander'
import { type DfdaemonConfig, dfdaemonOptions } from '../../dfdaemon/config.ts'
import {
  type Authority,
  authorityPaths,
  ensureAuthority,
  readAuthority,
  writeAuthority,
} from '../../dfdaemon/intercept/authority/authority-files.ts'
import { listAuthorityHosts } from '../../dfdaemon/intercept/outbound/host-list.ts'
import { PantalaError } from '../../shared/errors.ts'
import { makeDataDir } from '../../shared/make-directory.ts'
import { addOptionFlags, resolveConfig } from './service-options.ts'

const initHelp = `
The authority can vouch for the hosts of intercept.hosts, with what is below them, and for no other: its certificate says so. When the list
gets a host that it does not cover, make a new one with --force, have the runtimes trust it, and restart the dfdaemon.`

export function addCaCommand(program: Command): void {
  const ca = program
    .command('ca')
    .helpCommand(false)
    .description('the certificate authority for intercepted registries')
  addVerb(ca, 'init', 'make the authority for intercept.hosts, unless there is one')
    .option('--force', 'make a new one in the place of the one there is')
    .addHelpText('after', initHelp)
    .action(async (_options: unknown, self: Command) => {
      const config = resolveConfig<DfdaemonConfig>('dfdaemon', dfdaemonOptions, self)
      const hosts = listAuthorityHosts(config.intercept.hosts)
      if (hosts.length === 0)
        throw new PantalaError('CONFIG_INVALID', { detail: 'intercept.hosts is empty: name the registries' })
      await makeDataDir(config.dataDir)
      const make = self.opts<{ force?: boolean }>().force === true ? writeAuthority : ensureAuthority
      show(config.dataDir, await make(config.dataDir, hosts, Date.now()), self)
    })
  addVerb(ca, 'show', 'show the authority: its files, hosts, fingerprint and end').action(
    async (_options: unknown, self: Command) => {
      const { dataDir } = resolveConfig<DfdaemonConfig>('dfdaemon', dfdaemonOptions, self)
      const authority = await readAuthority(dataDir)
      if (authority === undefined)
        throw new PantalaError('CONFIG_INVALID', {
          detail: `${authorityPaths(dataDir).certificate} is not there: pantala ca init makes it`,
        })
      show(dataDir, authority, self)
    },
  )
}

function addVerb(ca: Command, name: string, description: string): Command {
  return addOptionFlags(ca.command(name).description(description), dfdaemonOptions)
    .option('--json', 'print JSON')
    .exitOverride()
    .helpOption('--help', 'show help')
}

function show(dataDir: string, authority: Authority, command: Command): void {
  const paths = authorityPaths(dataDir)
  const facts = {
    certificate: paths.certificate,
    key: paths.key,
    hosts: authority.hosts,
    ends: new Date(authority.endsMs).toISOString().slice(0, 10),
    fingerprint: authority.fingerprint,
  }
  const { json } = command.opts<{ json?: unknown }>()
  const lines = Object.entries(facts).map(
    ([name, value]) => `${`${name}:`.padEnd(13)}${[value].flat().join(', ')}`,
  )
  process.stdout.write(json === true ? `${JSON.stringify(facts, undefined, 2)}\n` : `${lines.join('\n')}\n`)
}
