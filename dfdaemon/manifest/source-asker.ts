// Asks the source for small things through the supernode, which asks once for the whole cluster, or itself when there is none. Keeps nothing.
import { type Digest, digestAlgorithm, digestOf, isDigest } from '../../shared/digest.ts'
import { type ErrorCode, isPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { BLOB_BYTES_MAX } from '../../shared/piece.ts'
import { MANIFEST_BYTES_MAX, type Relayed, type SourceRef } from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import type { SchedulerClient } from '../scheduler/scheduler-client.ts'

export interface ManifestQuestion {
  readonly source: SourceRef
  readonly reference: string
  readonly accept: readonly string[]
  /** Digest whose body is held. */
  readonly known: Digest | undefined
  /** Nothing that was heard before will do. */
  readonly fresh: boolean
}

/** The source's answer, checked; `body` absent: `known` still holds. `stale`: the supernode's last known, with the source away. `ageMs`: since the source said so. */
export interface Origin {
  readonly mediaType: string
  readonly digest: Digest
  readonly body: Uint8Array | undefined
  readonly stale: boolean
  readonly ageMs: number
}

export class SourceAsker {
  readonly #scheduler: SchedulerClient
  readonly #client: SourceClient
  readonly #logger: Logger

  constructor(components: {
    readonly scheduler: SchedulerClient
    readonly client: SourceClient
    readonly logger: Logger
  }) {
    this.#scheduler = components.scheduler
    this.#client = components.client
    this.#logger = components.logger
  }

  async manifest(question: ManifestQuestion, signal: AbortSignal): Promise<Origin> {
    const { source, reference, accept, known, fresh } = question
    const ask = { kind: 'manifest', source, reference, accept, known, ...freshly(fresh) } as const
    const relayed = await this.#relay(ask, signal)
    const origin = relayed && checkRelayed(relayed, question)
    if (origin !== undefined) return origin
    if (relayed !== undefined)
      this.#logger.warn(
        { registry: source.registry, reference },
        'the supernode relayed a wrong manifest: asking the source',
      )
    const answer = await this.#client.manifest(source, reference, accept, known, signal)
    return { ...answer, stale: false, ageMs: 0 }
  }

  /** Length in bytes, under the caller's own credentials; `stale` and `ageMs` as in Origin. */
  async blobLength(
    source: SourceRef,
    digest: Digest,
    fresh: boolean,
    signal: AbortSignal,
  ): Promise<Pick<Origin, 'stale' | 'ageMs'> & { readonly length: number }> {
    const ask = { kind: 'blob-length', source, reference: digest, accept: [], ...freshly(fresh) } as const
    const relayed = await this.#relay(ask, signal)
    const length = relayed?.length
    if (length !== undefined && Number.isSafeInteger(length) && length >= 0 && length <= BLOB_BYTES_MAX)
      return { length, stale: relayed?.stale === true, ageMs: relayed?.ageMs ?? 0 }
    return { length: await this.#client.blobLength(source, digest, signal), stale: false, ageMs: 0 }
  }

  /** The supernode's answer; undefined if it cannot be had, as opposed to the source's refusal. */
  async #relay(
    request: Parameters<SchedulerClient['relay']>[0],
    signal: AbortSignal,
  ): Promise<Relayed | undefined> {
    if (!this.#scheduler.connected) return undefined
    try {
      return await this.#scheduler.relay(request, signal)
    } catch (error) {
      if (signal.aborted || !isPantalaError(error)) throw error
      // What this host may use for a caller without credentials, the supernode need not have.
      const isRefused = error.code === 'SOURCE_UNAUTHORIZED' || error.code === 'SOURCE_DENIED'
      const mayDoBetter = isRefused && this.#client.usesConfigured?.(request.source) === true
      if (!supernodeCodes.has(error.code) && !mayDoBetter) throw error
      this.#logger.debug(
        { code: error.code, reference: request.reference },
        'no relay: asking the source itself',
      )
      return undefined
    }
  }
}

/** Left out where it says nothing, so that supernodes of before understand the question. */
function freshly(fresh: boolean): { readonly fresh?: true } {
  return fresh ? { fresh } : {}
}

/** Errors that are the supernode's own and say nothing about the source. */
const supernodeCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'SUPERNODE_AWAY',
  'SUPERNODE_REFUSED',
  'SUPERNODE_IDENTITY',
  'ADMISSION_REFUSED',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'DEADLINE_PASSED',
  'MESSAGE_INVALID',
])

function checkRelayed(relayed: Relayed, { reference, known }: ManifestQuestion): Origin | undefined {
  const { mediaType, digest, body, stale, ageMs = 0 } = relayed
  if (digest === undefined || !isDigest(digest)) return undefined
  if (isDigest(reference) && digest !== reference) return undefined
  if (body === undefined) return digest === known ? { mediaType, digest, body, stale, ageMs } : undefined
  if (body.byteLength > MANIFEST_BYTES_MAX || digestOf(body, digestAlgorithm(digest)) !== digest)
    return undefined
  return { mediaType, digest, body, stale, ageMs }
}
