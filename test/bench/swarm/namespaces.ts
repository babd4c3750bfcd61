// Network namespaces on a bridge of their own, each link limited both ways: made and removed by name, those of runs that died included.
// Nothing is added to the machine's own network: the bridge lies in a namespace too, and no route leads out.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'

const PREFIX = 'pantala-bench-'
const NAMES_DIRECTORY = '/run/netns'
/** What a link may send at once, as time at its rate in ms, and the least in bytes. */
const BURST_MS = 10
/** Above what the kernel sends in one go (64 KiB): a smaller bucket makes it cut all of that into frames, which costs more processor than all the rest. */
const BURST_BYTES_MIN = 80_000
const QUEUE_MS = 50

/** Bits per second each way; undefined: not limited. */
export interface LinkRate {
  readonly up?: number
  readonly down?: number
}

export interface Counters {
  readonly sentBytes: number
  readonly receivedBytes: number
}

export class Namespaces {
  readonly #owner: number
  readonly #nodes: string[] = []

  /** @param owner process whose end makes the namespaces rubbish */
  constructor(owner: number) {
    this.#owner = owner
  }

  /** Removes the namespaces of runs whose process is gone, and ends what still runs in them. */
  static removeStale(): void {
    for (const name of listNames()) {
      const owner = Number(/^pantala-bench-(\d+)-/.exec(name)?.[1] ?? Number.NaN)
      if (Number.isInteger(owner) && !existsSync(`/proc/${owner}`)) removeNamespace(name)
    }
  }

  /** Makes the switch: one bridge, or two (`a`, `b`) with a link between them that goes no faster than `thinRate` bits per second. */
  open(thinRate?: number): void {
    const sw = this.nameOf('sw')
    run('ip', ['netns', 'add', sw])
    run('ip', ['netns', 'exec', sw, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1'])
    this.#ip('sw', 'link', 'set', 'lo', 'up')
    for (const zone of thinRate === undefined ? ['a'] : ['a', 'b']) {
      this.#ip('sw', 'link', 'add', `br-${zone}`, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0')
      this.#ip('sw', 'link', 'set', `br-${zone}`, 'up')
    }
    if (thinRate === undefined) return
    this.#ip('sw', 'link', 'add', 'thin-a', 'type', 'veth', 'peer', 'name', 'thin-b')
    for (const zone of ['a', 'b']) {
      this.#ip('sw', 'link', 'set', `thin-${zone}`, 'master', `br-${zone}`)
      this.#ip('sw', 'link', 'set', `thin-${zone}`, 'up')
      this.#shape('sw', `thin-${zone}`, thinRate)
    }
  }

  /** Adds a node with the address 10.88.0.`number` to a zone's bridge. */
  addNode(node: string, number: number, zone: 'a' | 'b' = 'a'): void {
    const name = this.nameOf(node)
    this.#nodes.push(node)
    run('ip', ['netns', 'add', name])
    run('ip', ['netns', 'exec', name, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1'])
    this.#ip(node, 'link', 'set', 'lo', 'up')
    this.#ip('sw', 'link', 'add', `p-${node}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
    this.#ip('sw', 'link', 'set', `p-${node}`, 'master', `br-${zone}`, 'up')
    this.#ip(node, 'addr', 'add', `${addressOf(number)}/24`, 'dev', 'eth0')
    this.#ip(node, 'link', 'set', 'eth0', 'up')
  }

  limit(node: string, rate: LinkRate): void {
    if (rate.up !== undefined) this.#shape(node, 'eth0', rate.up)
    if (rate.down !== undefined) this.#shape('sw', `p-${node}`, rate.down)
  }

  nameOf(node: string): string {
    return `${PREFIX}${this.#owner}-${node}`
  }

  /** Command and first arguments that run a program in a node. */
  prefix(node: string): readonly string[] {
    return ['ip', 'netns', 'exec', this.nameOf(node)]
  }

  /** Bytes on a node's link since it was made, frames' headers included. */
  counters(node: string): Counters {
    return this.#read(node, 'eth0')
  }

  /** Bytes over the thin link: from zone a to b is sent. */
  thinCounters(): Counters {
    return this.#read('sw', 'thin-b', true)
  }

  /** Removes all of them, whatever was made. */
  close(): void {
    for (const name of listNames()) if (name.startsWith(`${PREFIX}${this.#owner}-`)) removeNamespace(name)
  }

  #read(node: string, device: string, seenFromOutside = false): Counters {
    const text = run('ip', ['netns', 'exec', this.nameOf(node), 'cat', '/proc/net/dev'])
    const line = text.split('\n').find(one => one.trim().startsWith(`${device}:`)) ?? ''
    const numbers = line
      .slice(line.indexOf(':') + 1)
      .trim()
      .split(/\s+/)
      .map(Number)
    const [received, sent] = [numbers[0] ?? 0, numbers[8] ?? 0]
    return seenFromOutside
      ? { sentBytes: received, receivedBytes: sent }
      : { sentBytes: sent, receivedBytes: received }
  }

  #shape(node: string, device: string, bitsPerSecond: number): void {
    const burst = Math.max(BURST_BYTES_MIN, Math.round((bitsPerSecond / 8000) * BURST_MS))
    const limit = ['rate', `${bitsPerSecond}bit`, 'burst', String(burst), 'latency', `${QUEUE_MS}ms`]
    const where = ['netns', 'exec', this.nameOf(node), 'tc', 'qdisc', 'replace', 'dev', device, 'root']
    run('ip', [...where, 'tbf', ...limit])
  }

  #ip(node: string, ...args: string[]): void {
    run('ip', ['-n', this.nameOf(node), ...args])
  }
}

export function addressOf(number: number): string {
  return `10.88.0.${number}`
}

function listNames(): string[] {
  return existsSync(NAMES_DIRECTORY)
    ? readdirSync(NAMES_DIRECTORY).filter(name => name.startsWith(PREFIX))
    : []
}

/** Only processes inside this namespace are ended. */
function removeNamespace(name: string): void {
  for (const pid of run('ip', ['netns', 'pids', name]).split('\n').map(Number).filter(Boolean)) {
    // This very process may be inside, when it tidies up after itself.
    if (pid !== process.pid && isRunning(pid)) process.kill(pid, 'SIGKILL')
  }
  run('ip', ['netns', 'del', name])
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** @throws Error with what the command said */
function run(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}
