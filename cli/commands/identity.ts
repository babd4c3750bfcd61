// `pantala identity`: prints the PeerId of a service, making its key if there is none, so that hosts can be told of a supernode before it ever ran.
import { join } from 'node:path'
import type { Command } from 'commander'
import { dfdaemonOptions } from '../../dfdaemon/config.ts'
import { makeDataDir } from '../../shared/make-directory.ts'
import { supernodeOptions } from '../../supernode/config.ts'
import { addOptionFlags, resolveConfig } from './service-options.ts'

const services = { supernode: supernodeOptions, dfdaemon: dfdaemonOptions }

export function addIdentityCommand(program: Command): void {
  const identity = program
    .command('identity')
    .helpCommand(false)
    .description('print the PeerId of a service; its key is made if it has none')
  for (const [service, options] of Object.entries(services)) {
    addOptionFlags(identity.command(service).description(`the PeerId of pantala ${service}`), options)
      .exitOverride()
      .helpOption('--help', 'show help')
      .action(async (_given: unknown, self: Command) => {
        const { dataDir } = resolveConfig<{ dataDir: string }>(service, options, self)
        const { loadPeerId } = await import('../../shared/transport/identity.ts')
        await makeDataDir(dataDir)
        process.stdout.write(`${await loadPeerId(join(dataDir, 'identity.key'))}\n`)
      })
  }
}
