// Samples how full the links are while hosts pull: bytes of a process's own namespace, read from /proc at a fixed interval.
import { readFileSync } from 'node:fs'

const INTERVAL_MS = 250

/** Mbit/s over the interval that ends at `atMs`; of hosts, the mean. */
export interface UsageSample {
  readonly atMs: number
  readonly registryUp: number
  readonly seedUp: number
  readonly hostsUp: number
  readonly hostsDown: number
}

export interface UsageProcesses {
  readonly registry: number
  readonly supernode: number
  readonly hosts: () => readonly number[]
}

interface Counted {
  readonly registryUp: number
  readonly seedUp: number
  readonly hostsUp: number
  readonly hostsDown: number
}

export class LinkUsage {
  readonly #processes: UsageProcesses
  readonly #samples: UsageSample[] = []
  readonly #startedAt = performance.now()
  readonly #timer: NodeJS.Timeout
  #lastAt = this.#startedAt
  #last: Counted

  constructor(processes: UsageProcesses) {
    this.#processes = processes
    this.#last = this.#count()
    this.#timer = setInterval(() => this.#sample(), INTERVAL_MS)
  }

  stop(): readonly UsageSample[] {
    clearInterval(this.#timer)
    this.#sample()
    return this.#samples
  }

  #sample(): void {
    const now = performance.now()
    const counted = this.#count()
    const rate = (key: keyof Counted) =>
      Math.max(0, Math.round(((counted[key] - this.#last[key]) * 8) / 1000 / (now - this.#lastAt)))
    this.#samples.push({
      atMs: Math.round(now - this.#startedAt),
      registryUp: rate('registryUp'),
      seedUp: rate('seedUp'),
      hostsUp: rate('hostsUp'),
      hostsDown: rate('hostsDown'),
    })
    this.#last = counted
    this.#lastAt = now
  }

  #count(): Counted {
    const { registry, supernode, hosts } = this.#processes
    const counters = hosts().map(readLink)
    const mean = (key: 'sent' | 'received') =>
      counters.reduce((sum, one) => sum + one[key], 0) / Math.max(1, counters.length)
    return {
      registryUp: readLink(registry).sent,
      seedUp: readLink(supernode).sent,
      hostsUp: mean('sent'),
      hostsDown: mean('received'),
    }
  }
}

/** Bytes over eth0 of the namespace that a process is in; 0 if it is gone. */
function readLink(pid: number): { sent: number; received: number } {
  try {
    const line = readFileSync(`/proc/${pid}/net/dev`, 'utf8')
      .split('\n')
      .find(one => one.trim().startsWith('eth0:'))
    const numbers = (line ?? '')
      .replace(/.*eth0:/, '')
      .trim()
      .split(/\s+/)
      .map(Number)
    return { received: numbers[0] || 0, sent: numbers[8] || 0 }
  } catch {
    return { sent: 0, received: 0 }
  }
}
