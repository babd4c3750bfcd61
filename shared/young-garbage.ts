// Asks V8 for a small collection after so many bytes of short-lived chunks, where the process was started with --expose-gc; else does nothing.
//
// A chunk read from a socket is a few bytes of heap and 64 KiB beside it. The young generation, which only counts the heap, would let
// hundreds of MiB pile up; before that happens V8 marks the whole heap over and over. A small collection in time costs under 1 ms.

/** Bytes of chunks between collections. */
const BYTES_BETWEEN = 8 * 1024 * 1024

type CollectYoung = () => void

export class YoungGarbage {
  readonly #collect: CollectYoung | undefined
  #bytes = 0

  /** `collect`: how; absent: V8's own, if it is exposed. */
  constructor(collect: CollectYoung | undefined = exposedCollector()) {
    this.#collect = collect
  }

  /** Counts bytes of chunks that are garbage by now or soon will be. */
  note(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes < BYTES_BETWEEN) return
    this.#bytes = 0
    this.#collect?.()
  }
}

function exposedCollector(): CollectYoung | undefined {
  const { gc } = globalThis
  return gc === undefined ? undefined : () => gc({ type: 'minor', execution: 'sync' } as never)
}
