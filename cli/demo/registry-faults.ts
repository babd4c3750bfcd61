// Named faults of the embedded source registry, and how they bend an answer. Knows nothing of HTTP or images.

/** What a fault applies to. */
export type FaultTarget = 'blob' | 'manifest' | 'any'

interface FaultScope {
  /** Which requests it hits; `blob` unless told otherwise, `any` for `away`, `basic` and `slow`. */
  readonly on?: FaultTarget
  /** Only requests for this digest or tag. */
  readonly reference?: string
  /** How many requests it hits before it lifts itself; no end unless told. */
  readonly times?: number
}

export type SourceFault = FaultScope &
  (
    | /** Cuts every connection without an answer. */ { readonly kind: 'away' }
    /** Answers with an error status and an OCI error body. */
    | { readonly kind: 'status'; readonly status: number; readonly retryAfterSeconds?: number }
    /** Cuts the connection after so many body bytes. */
    | { readonly kind: 'reset'; readonly afterBytes: number }
    /** Sends so many body bytes, then nothing, and keeps the connection open. */
    | { readonly kind: 'stall'; readonly afterBytes: number }
    /** Ends the body cleanly but early: fewer bytes than the length it named, or a short chunked body. */
    | { readonly kind: 'short'; readonly afterBytes: number }
    /** Flips a bit of the byte at this offset of the blob or manifest. */
    | { readonly kind: 'corrupt'; readonly offset: number }
    /** Ignores Range: always 200 and the whole body. */
    | { readonly kind: 'no-range' }
    /** Leaves Content-Length out (chunked). */
    | { readonly kind: 'no-length' }
    /** Waits before the status line, in ms. */
    | { readonly kind: 'late'; readonly delayMs: number }
    /** All bodies together go no faster than this. */
    | { readonly kind: 'slow'; readonly bytesPerSecond: number }
    /** Wants HTTP basic credentials. */
    | { readonly kind: 'basic'; readonly user: string; readonly password: string }
  )

/** What the faults in force say about one request. */
export interface Bent {
  readonly cut: boolean
  readonly status: { readonly status: number; readonly retryAfterSeconds?: number } | undefined
  readonly delayMs: number
  readonly ending: { readonly kind: 'reset' | 'stall' | 'short'; readonly afterBytes: number } | undefined
  readonly corruptAt: number | undefined
  readonly ignoresRange: boolean
  readonly hidesLength: boolean
  readonly pace: Pace | undefined
  readonly credentials: { readonly user: string; readonly password: string } | undefined
}

interface InForce {
  readonly fault: SourceFault
  readonly pace: Pace | undefined
  left: number
}

/** The faults in force. */
export class FaultTable {
  readonly #inForce = new Set<InForce>()

  /** Puts a fault in force; returns the way to lift it. */
  add(fault: SourceFault): () => void {
    const pace = fault.kind === 'slow' ? new Pace(fault.bytesPerSecond) : undefined
    const entry: InForce = { fault, pace, left: fault.times ?? Number.POSITIVE_INFINITY }
    this.#inForce.add(entry)
    return () => this.#inForce.delete(entry)
  }

  clear(): void {
    this.#inForce.clear()
  }

  /** True while some fault cuts everything. */
  get away(): boolean {
    return [...this.#inForce].some(entry => entry.fault.kind === 'away' && entry.left > 0)
  }

  /** The sum of the faults that hit a request; counts it against those that end after so many. */
  bend(target: 'blob' | 'manifest' | 'other', reference: string): Bent {
    const hits = [...this.#inForce].filter(entry => hitsRequest(entry.fault, target, reference))
    for (const entry of hits) {
      entry.left--
      if (entry.left <= 0) this.#inForce.delete(entry)
    }
    const faults = hits.map(entry => entry.fault)
    const find = <K extends SourceFault['kind']>(kind: K) =>
      faults.find((fault): fault is Extract<SourceFault, { kind: K }> => fault.kind === kind)
    return {
      cut: find('away') !== undefined,
      status: find('status'),
      delayMs: find('late')?.delayMs ?? 0,
      ending: find('reset') ?? find('stall') ?? find('short'),
      corruptAt: find('corrupt')?.offset,
      ignoresRange: find('no-range') !== undefined,
      hidesLength: find('no-length') !== undefined,
      pace: hits.find(entry => entry.pace !== undefined)?.pace,
      credentials: find('basic'),
    }
  }
}

function hitsRequest(fault: SourceFault, target: 'blob' | 'manifest' | 'other', reference: string): boolean {
  const wide = fault.kind === 'away' || fault.kind === 'basic' || fault.kind === 'slow'
  const on = fault.on ?? (wide ? 'any' : 'blob')
  return (on === 'any' || on === target) && (fault.reference === undefined || fault.reference === reference)
}

/** Spreads bytes over time, whoever sends them. */
export class Pace {
  readonly bytesPerSecond: number
  #freeAtMs = 0

  constructor(bytesPerSecond: number) {
    this.bytesPerSecond = bytesPerSecond
  }

  /** Books `bytes` and returns how long to wait before sending them, in ms. */
  book(bytes: number, nowMs: number): number {
    const start = Math.max(nowMs, this.#freeAtMs)
    this.#freeAtMs = start + (bytes / this.bytesPerSecond) * 1000
    return start - nowMs
  }
}
