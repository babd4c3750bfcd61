// A service of the command in a process of its own, on free ports and a directory of the test's, waited for by its `ready` line.
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { ServiceProcess } from '../../cli/demo/processes.ts'

const command = join(import.meta.dirname, '../../cli/pantala')

/** Flags that let any number of services run side by side. */
export const freePorts = {
  supernode: ['--api.address=127.0.0.1:0', '--peer.address=127.0.0.1:0', '--seed.enabled=false'],
  dfdaemon: ['--proxy.address=127.0.0.1:0', '--peer.address=127.0.0.1:0', '--admin.address=127.0.0.1:0'],
} as const

/** What a service says in its `ready` line. */
export interface Ready {
  readonly hostId: string
  readonly addresses: readonly string[]
  readonly apiUrl: string
  readonly proxyUrl: string
  readonly adminUrl: string
}

export async function startService(
  t: TestContext,
  service: keyof typeof freePorts,
  words: readonly string[],
): Promise<{ process: ServiceProcess; ready: Ready; lines: string[] }> {
  const lines: string[] = []
  let ready: Ready | undefined
  const process = new ServiceProcess({
    name: service,
    command,
    args: [service, ...freePorts[service], '--log.format=json', ...words],
    leash: true,
    onLine: line => {
      lines.push(line)
      if (line.includes('"event":"ready"')) ready = JSON.parse(line)
    },
  })
  process.start()
  t.after(() => process.stop())
  await process.waitUntil(async () => ready !== undefined, { deadlineMs: 30_000 })
  return { process, ready: ready!, lines }
}
