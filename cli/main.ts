// The `pantala` command: its words, help and exit codes (0 done, 1 failed, 2 wrong use). What each word does is in commands/.
import { inspect } from 'node:util'
import { Command, CommanderError } from 'commander'
import { isPantalaError } from '../shared/errors.ts'
import { stripCredentials } from '../shared/logger.ts'
import { version } from '../shared/version.ts'
import { addCaCommand } from './commands/ca.ts'
import { addConfigCommand } from './commands/config.ts'
import { addDemoCommand } from './commands/demo.ts'
import { addIdentityCommand } from './commands/identity.ts'
import { addPullCommand } from './commands/pull.ts'
import { addServiceCommands } from './commands/services.ts'
import { addSetupCommand } from './commands/setup.ts'
import { addStatusCommand } from './commands/status.ts'

/** How long what a command left behind may keep the process, in ms. */
const LEFT_OVER_MS = 2000

const examples = `
Examples:
  pantala demo                                     a whole cluster on this machine, pulling one image
  pantala supernode --cluster.secret-file secret   the service that decides
  pantala dfdaemon --config dfdaemon.yaml          the service on every host
  pantala pull team/app:1.0                        pull through this host's dfdaemon and check every digest
  pantala setup containerd --dry-run               what containerd's configuration would become
  pantala status --watch                           hosts, tasks and what the registry was spared

Exit codes: 0 done, 1 failed, 2 wrong use. PANTALA_DEBUG=1 shows where an error came from.`

async function main(words: string[]): Promise<number> {
  const program = new Command('pantala')
    .description(
      'Peer-to-peer distribution of container images: however many hosts pull, the registry sends once.',
    )
    .version(version, '--version', 'print the version')
    .helpOption('--help', 'show help')
    .helpCommand(false)
    .addHelpText('after', examples)
    .showHelpAfterError('(pantala --help tells more)')
  let exitCode = 0
  const setExitCode = (code: number): void => {
    exitCode = code
  }
  for (const add of [
    addDemoCommand,
    addServiceCommands,
    addPullCommand,
    addSetupCommand,
    addStatusCommand,
    addConfigCommand,
    addIdentityCommand,
    addCaCommand,
  ]) {
    add(program, setExitCode)
  }
  for (const command of [program, ...program.commands])
    command.exitOverride().helpOption('--help', 'show help')
  try {
    await program.parseAsync(words, { from: 'user' })
    return exitCode
  } catch (error) {
    return explain(error)
  }
}

/** One clear message on standard error; wrong use is 2, everything else 1. */
function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  const message = stripCredentials(error instanceof Error ? error.message : String(error))
  process.stderr.write(`pantala: ${message}\n`)
  if (process.env.PANTALA_DEBUG === '1' && error instanceof Error) {
    process.stderr.write(`${stripCredentials(inspect(error))}\n`)
  }
  if (!isPantalaError(error)) return 1
  process.stderr.write(`  hint: ${error.entry.hint}\n`)
  return error.code === 'CONFIG_INVALID' ? 2 : 1
}

process.exitCode = await main(process.argv.slice(2))
// Nothing should be left that keeps the process; if something is, it ends all the same.
setTimeout(() => process.exit(), LEFT_OVER_MS).unref()
