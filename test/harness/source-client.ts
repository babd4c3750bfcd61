// A registry client as tests want it: plain HTTP to the fakes they name, short timeouts, a logger whose lines can be read.
import { pino } from 'pino'
import { systemClock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/logger.ts'
import { RegistryClient, type RegistryClientInit } from '../../shared/source/registry-client.ts'
import type { RegistryConfig, UpstreamsConfig } from '../../shared/source/registry-config.ts'

/** A logger at the most talkative level, and its lines. */
export function recordingLogger(): { logger: Logger; lines: string[] } {
  const lines: string[] = []
  const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) })
  return { logger, lines }
}

export function makeClient(
  registries: Record<string, RegistryConfig>,
  init: Partial<Omit<RegistryClientInit, 'upstreams'>> & { upstreams?: Partial<UpstreamsConfig> } = {},
  logger: Logger = recordingLogger().logger,
): RegistryClient {
  return new RegistryClient(
    { logger, clock: systemClock, random: () => 0.5 },
    {
      stallTimeoutMs: 1_000,
      connectTimeoutMs: 1_000,
      headersTimeoutMs: 1_000,
      retryPauseMs: 5,
      ...init,
      upstreams: { default: 'docker.io', registries, allow: [], ...init.upstreams },
    },
  )
}

/** All of a body. */
export async function readAll(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}
