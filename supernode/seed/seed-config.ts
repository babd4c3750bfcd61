// What the supernode's own seed is configured with: a dfdaemon in seed mode beside it. Secrets go by environment, never to disk.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PantalaError } from '../../shared/errors.ts'
import type { SupernodeConfig } from '../config.ts'

/** Pieces that the seed sends at the same time: all first children of every new task come to it. */
const SEED_UPLOAD_SLOTS = 64

export interface SeedSetting {
  /** Multiaddr of the supernode as the seed reaches it, /p2p/ID included. */
  readonly supernodeAddress: string
  readonly secret: string | undefined
}

/** The seed's configuration; JSON, which is YAML too. */
export function makeSeedConfig(config: SupernodeConfig, setting: SeedSetting): Record<string, unknown> {
  const port = portOf(config.seed.peerAddress)
  return {
    dataDir: join(config.dataDir, 'seed'),
    name: 'seed',
    seed: true,
    zone: config.seed.zone,
    supernode: { addresses: [setting.supernodeAddress, ...config.supernodes] },
    proxy: { address: '127.0.0.1:0' },
    admin: { address: '127.0.0.1:0' },
    peer: {
      address: config.seed.peerAddress,
      // Where hosts reach the supernode they reach its seed too, at the seed's port.
      announce: config.peer.announce.map(address =>
        address.replace(/\/p2p\/.*$/, '').replace(/\/tcp\/\d+/, `/tcp/${port}`),
      ),
    },
    store: { quotaBytes: config.seed.quotaBytes },
    upload: { slots: SEED_UPLOAD_SLOTS },
    upstreams: { ...config.upstreams, proxy: undefined },
    manifest: config.manifest,
    source: { stallTimeoutMs: config.source.stallTimeoutMs },
    shutdown: config.shutdown,
    log: config.log,
  }
}

/** Writes the configuration (mode 0600) and gives the arguments and environment that the seed is started with. */
export async function writeSeedConfig(
  config: SupernodeConfig,
  setting: SeedSetting,
): Promise<{ args: string[]; env: Record<string, string> }> {
  const file = join(config.dataDir, 'seed.yaml')
  const text = `${JSON.stringify(makeSeedConfig(config, setting), undefined, 2)}\n`
  await writeFile(file, text, { mode: 0o600 }).catch(cause => {
    throw new PantalaError('DATA_DIR_UNUSABLE', { detail: cause.message, cause })
  })
  const env: Record<string, string> = {}
  if (setting.secret !== undefined) env['PANTALA_DFDAEMON_CLUSTER_SECRET'] = setting.secret
  // A proxy's URL may hold a password.
  const { proxy } = config.upstreams
  if (proxy !== undefined) env['PANTALA_DFDAEMON_UPSTREAMS_PROXY'] = proxy
  return { args: ['dfdaemon', '--config', file], env }
}

function portOf(address: string): string {
  return /(\d+)$/.exec(address)?.[1] ?? '0'
}
