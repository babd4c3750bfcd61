// `pantala supernode` and `pantala dfdaemon`: configuration in, service up, signals down.
import { setFlagsFromString } from 'node:v8'
import type { Command } from 'commander'
import { type DfdaemonConfig, dfdaemonOptions } from '../../dfdaemon/config.ts'
import { createLogger, type Logger } from '../../shared/logger.ts'
import { type SupernodeConfig, supernodeOptions } from '../../supernode/config.ts'
import { addOptionFlags, resolveConfig } from './service-options.ts'
import { onStopSignal } from './stop-signal.ts'

/** A service that runs; what it says of itself when it is ready. */
interface Running {
  readonly facts: Record<string, unknown>
  readonly welcome: string
  stop(): Promise<void>
}

export function addServiceCommands(program: Command, setExitCode: (code: number) => void): void {
  addOptionFlags(
    program.command('supernode').description('the service that decides who fetches what from whom'),
    supernodeOptions,
  ).action(async (_given: unknown, self: Command) => {
    const config = resolveConfig<SupernodeConfig>('supernode', supernodeOptions, self)
    const logger = createLogger({ name: 'supernode', ...config.log })
    setExitCode(await runUntilStopped(logger, () => startSupernodeService(config, logger)))
  })
  addOptionFlags(
    program
      .command('dfdaemon')
      .description('the service on every host: the registry that runtimes pull from'),
    dfdaemonOptions,
  ).action(async (_given: unknown, self: Command) => {
    const config = resolveConfig<DfdaemonConfig>('dfdaemon', dfdaemonOptions, self)
    const logger = createLogger({ name: config.seed ? 'seed' : 'dfdaemon', ...config.log })
    setExitCode(await runUntilStopped(logger, () => startDfdaemonService(config, logger)))
  })
}

async function startSupernodeService(config: SupernodeConfig, logger: Logger): Promise<Running> {
  const { startSupernode } = await import('../../supernode/main.ts')
  const supernode = await startSupernode(config, { logger })
  const { addresses, apiUrl, hostId } = supernode
  return {
    facts: { addresses, apiUrl, hostId },
    welcome: [
      'The supernode is ready.',
      '  Hosts connect to it by one of these (supernode.addresses of pantala dfdaemon):',
      ...addresses.map(address => `    ${address}`),
      `  API and metrics: ${apiUrl}`,
    ].join('\n'),
    stop: () => supernode.stop(),
  }
}

async function startDfdaemonService(config: DfdaemonConfig, logger: Logger): Promise<Running> {
  const { startDfdaemon } = await import('../../dfdaemon/main.ts')
  const dfdaemon = await startDfdaemon(config, { logger })
  const { addresses, proxyUrl, adminUrl, hostId } = dfdaemon
  return {
    facts: { addresses, proxyUrl, adminUrl, hostId },
    welcome: [
      'The dfdaemon is ready.',
      `  Runtimes pull from ${proxyUrl}`,
      `  Health, metrics and state: ${adminUrl}`,
    ].join('\n'),
    stop: () => dfdaemon.stop(),
  }
}

/** How long after the start its garbage is collected, in ms; a pull that comes first waits no more than some ten ms then. */
const START_GARBAGE_MS = 1000

/**
 * Gives back what loading and starting left behind, where the launcher exposed the collector. V8 by itself would keep it until the heap has
 * grown to the size it was begun with, on an idle host for ever.
 */
function collectStartGarbage(): void {
  const { gc } = globalThis
  if (gc === undefined) return
  // Code that ran only at the start goes, too; from then on V8 keeps what was not run for six collections, as ever.
  setFlagsFromString('--bytecode-old-age=1')
  gc({ type: 'major', execution: 'sync', flavor: 'last-resort' } as never)
  setFlagsFromString('--bytecode-old-age=6')
}

/** Starts, says so in the log (event `ready`) and on a terminal in words, and stops on SIGTERM or SIGINT. */
async function runUntilStopped(logger: Logger, start: () => Promise<Running>): Promise<number> {
  const stopSignal = onStopSignal()
  const running = await start()
  logger.info({ event: 'ready', ...running.facts }, 'ready')
  if (process.stdout.isTTY) process.stdout.write(`${running.welcome}\n`)
  const collecting = setTimeout(collectStartGarbage, START_GARBAGE_MS).unref()
  await new Promise<void>(resolve => {
    if (stopSignal.signal.aborted) resolve()
    else stopSignal.signal.addEventListener('abort', () => resolve(), { once: true })
    // Nothing else may be left to keep the process alive.
    const keepAlive = setInterval(() => {}, 3_600_000)
    stopSignal.signal.addEventListener('abort', () => clearInterval(keepAlive), { once: true })
  })
  clearTimeout(collecting)
  logger.info({ event: 'stopping', signal: String((stopSignal.signal.reason as Error).message) }, 'stopping')
  await running.stop()
  logger.info({ event: 'stopped' }, 'stopped')
  stopSignal.release()
  return 0
}
