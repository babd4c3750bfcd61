// Reads what a benchmark needs of the machine and of processes, from /proc; and sums up repetitions.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { findCommand } from '../harness/packages.ts'

/** Resident memory of a process, in bytes. */
export interface Memory {
  readonly rssBytes: number
  readonly peakBytes: number
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** VmRSS and VmHWM of a process; undefined if it is gone. */
export function readMemory(pid: number): Memory | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const kibibytes = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0)
    return { rssBytes: kibibytes('VmRSS') * 1024, peakBytes: kibibytes('VmHWM') * 1024 }
  } catch {
    return undefined
  }
}

/** Processor time of a process and all its threads since it started, in seconds; children are not counted. */
export function readCpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // Fields 14 and 15 of proc(5), in ticks of 10 ms (USER_HZ is 100 on Linux).
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Processes that a process has started and that still run. */
export function findChildren(pid: number): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
    .filter(child => {
      try {
        const stat = readFileSync(`/proc/${child}/stat`, 'utf8')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid
      } catch {
        return false
      }
    })
}

/** What the figures were taken on. */
export interface Machine {
  readonly date: string
  readonly processor: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  /** Runnable tasks in the minute before the run; near 0 unless others were at work, which spoils the figures. */
  readonly loadBefore: number
  readonly versions: Readonly<Record<string, string>>
}

export function describeMachine(): Machine {
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    loadBefore: loadavg()[0]!,
    versions: {
      node: process.version,
      'docker-registry': askVersion('docker-registry', '--version'),
      nginx: askVersion('nginx', '-v'),
    },
  }
}

function askVersion(command: string, flag: string): string {
  const path = findCommand(command)
  if (path === undefined) return 'not installed'
  try {
    // nginx tells its version on standard error.
    const text = execFileSync('/bin/sh', ['-c', `"${path}" ${flag} 2>&1`], { encoding: 'utf8' })
    return /\d+\.\d+[\w.+-]*/.exec(text)?.[0] ?? 'unknown'
  } catch {
    return 'unknown'
  }
}
