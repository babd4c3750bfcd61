// Splits a CPU profile of a dfdaemon that ran from its sources by stages of the data plane. Pure.

export type Stage =
  | 'receive'
  | 'event loop and decryption'
  | 'encrypt and send'
  | 'hash'
  | 'disk'
  | 'serve'
  | 'session and scheduling'
  | 'garbage collection'
  | 'other'

export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
    readonly children?: readonly number[]
  }[]
  /** Monotonic time, in µs. */
  readonly startTime: number
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/** Own files, and those of Node and of packages, by what they are there for; the first that matches counts. */
const places: readonly (readonly [RegExp, Stage])[] = [
  [/piece-hash\.ts|blake-hash|internal\/crypto\/hash/, 'hash'],
  [/dfdaemon\/store\/|^node:fs|internal\/fs\/|classic-level|abstract-level/, 'disk'],
  [/dfdaemon\/upload\//, 'encrypt and send'],
  [/dfdaemon\/proxy\/|fastify|_http_|internal\/http/, 'serve'],
  [
    /shared\/transport\/|dfdaemon\/fetch\/|shared\/protocol\/piece-|stream_base_commons|node:net|_tls_|internal\/tls|libp2p|yamux/,
    'receive',
  ],
  [
    /dfdaemon\/session\/|dfdaemon\/scheduler\/|shared\/protocol\/|cborg|dfdaemon\/discovery/,
    'session and scheduling',
  ],
]

/** Seconds of each stage between two moments of monotonic time, in µs; what the main thread waited is left out. */
export function splitStages(profile: CpuProfile, fromUs: number, toUs: number): Record<Stage, number> {
  const stages: Record<Stage, number> = {
    receive: 0,
    'event loop and decryption': 0,
    'encrypt and send': 0,
    hash: 0,
    disk: 0,
    serve: 0,
    'session and scheduling': 0,
    'garbage collection': 0,
    other: 0,
  }
  const stageOf = classify(profile)
  let at = profile.startTime
  profile.samples.forEach((id, index) => {
    const took = profile.timeDeltas[index]!
    at += took
    const stage = stageOf.get(id)
    if (stage !== undefined && at >= fromUs && at <= toUs) stages[stage] += took / 1e6
  })
  return stages
}

/** Native functions have no place of their own: they count as their caller's. */
function classify(profile: CpuProfile): ReadonlyMap<number, Stage> {
  const byId = new Map(profile.nodes.map(node => [node.id, node]))
  const callers = new Map<number, number>()
  for (const node of profile.nodes) for (const child of node.children ?? []) callers.set(child, node.id)
  const stages = new Map<number, Stage>()
  for (const { id, callFrame } of profile.nodes) {
    const { functionName } = callFrame
    if (functionName === '(idle)' || functionName === '(root)') continue
    if (functionName === '(garbage collector)') stages.set(id, 'garbage collection')
    else if (functionName === '(program)') stages.set(id, 'event loop and decryption')
    else stages.set(id, isSocketWrite(id) ? 'encrypt and send' : placeOf(id))
  }
  return stages

  function isSocketWrite(id: number): boolean {
    const own = byId.get(id)!.callFrame
    const caller = byId.get(callers.get(id) ?? -1)?.callFrame
    return /^write/.test(own.functionName) && own.url === '' && /stream_base_commons/.test(caller?.url ?? '')
  }

  function placeOf(id: number): Stage {
    for (let at: number | undefined = id; at !== undefined; at = callers.get(at)) {
      const { url } = byId.get(at)!.callFrame
      if (url === '') continue
      return places.find(([pattern]) => pattern.test(url))?.[1] ?? 'other'
    }
    return 'other'
  }
}
