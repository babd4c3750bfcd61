// Runs a benchmark in a network namespace of its own, in which whatever the registry's port sends goes no faster than a link would.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { findCommand } from '../../harness/packages.ts'
import type { PullFigures } from './pull.ts'

const registryPort = 5000

/** Why the link cannot be limited here; undefined if it can. */
export function whyNoLimit(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux'
  if (process.getuid?.() !== 0) return 'needs root'
  const missing = ['unshare', 'ip', 'tc'].filter(command => findCommand(command) === undefined)
  return missing.length === 0 ? undefined : `${missing.join(', ')} not found (Debian: util-linux, iproute2)`
}

/**
 * Loopback of a fresh namespace is shaped for one source port; everything else on it is as fast as ever. The namespace and its settings go
 * with the process. @throws Error with what was printed if it fails
 */
export function measurePullsLimited(options: {
  readonly megabitsPerSecond: number
  readonly repetitions: number
  readonly hosts: number
}): Promise<PullFigures> {
  const burstBytes = options.megabitsPerSecond * 1250
  const rate = `rate ${options.megabitsPerSecond}mbit burst ${burstBytes} cburst ${burstBytes}`
  const program = join(import.meta.dirname, 'pull.ts')
  const script = [
    'set -e',
    'ip link set lo up',
    'tc qdisc add dev lo root handle 1: htb default 10',
    'tc class add dev lo parent 1: classid 1:10 htb rate 100gbit burst 10m cburst 10m quantum 60000',
    `tc class add dev lo parent 1: classid 1:20 htb ${rate} quantum 60000`,
    `tc filter add dev lo parent 1: protocol ip u32 match ip sport ${registryPort} 0xffff flowid 1:20`,
    `exec "$0" "${program}" --port ${registryPort} --repetitions ${options.repetitions} --hosts ${options.hosts}`,
  ].join('\n')
  return new Promise((resolve, reject) => {
    const args = ['--net', 'sh', '-c', script, process.execPath]
    execFile(findCommand('unshare')!, args, { maxBuffer: 4 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error !== null)
        return reject(new Error(`${stderr}${stdout}`.trim() || error.message, { cause: error }))
      resolve(JSON.parse(stdout.trim().split('\n').at(-1)!) as PullFigures)
    })
  })
}
