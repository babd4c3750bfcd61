// Starts a dfdaemon or a supernode in this process from settings by dotted key, read by the same option tables as the command's.
import { type DfdaemonConfig, dfdaemonOptions } from '../../dfdaemon/config.ts'
import { type Dfdaemon, startDfdaemon } from '../../dfdaemon/main.ts'
import { systemClock } from '../../shared/clock.ts'
import type { Option } from '../../shared/config/option.ts'
import { flagName, nestValues, resolveOptions } from '../../shared/config/resolve.ts'
import type { Logger } from '../../shared/logger.ts'
import { RegistryClient } from '../../shared/source/registry-client.ts'
import { type SupernodeConfig, supernodeOptions } from '../../supernode/config.ts'
import { type Supernode, startSupernode } from '../../supernode/main.ts'
import { SupernodeMetrics } from '../../supernode/metrics.ts'

/** Option key to text, as on a command line. */
export type Settings = Readonly<Record<string, string>>

export function startHost(settings: Settings, logger: Logger): Promise<Dfdaemon> {
  return startDfdaemon(makeConfig<DfdaemonConfig>('dfdaemon', dfdaemonOptions, settings), {
    logger,
    processMetrics: false,
  })
}

export async function startSupernodeWith(settings: Settings, logger: Logger): Promise<Supernode> {
  const config = makeConfig<SupernodeConfig>('supernode', supernodeOptions, settings)
  const init = { upstreams: config.upstreams, ...config.source }
  const source = new RegistryClient({ logger, clock: systemClock }, init)
  const metrics = new SupernodeMetrics({ processMetrics: false })
  const supernode = await startSupernode(config, { logger, source, metrics })
  const stop = async () => {
    await supernode.stop()
    await source.close()
  }
  return { ...supernode, stop }
}

/** The settings as flags of the command. */
export function settingsToFlags(settings: Settings): string[] {
  return Object.entries(settings).map(([key, value]) => `${flagName(key)}=${value}`)
}

function makeConfig<T>(service: string, options: readonly Option[], settings: Settings): T {
  const sources = { service, file: undefined, environment: {}, flags: settings }
  return nestValues(resolveOptions(options, sources)) as T
}
