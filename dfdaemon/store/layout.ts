// Where everything of the store lies under the data directory:
//
//   <dataDir>/
//     blobs/<algorithm>/<first two hex digits>/<hex digits>   complete blobs, under their digest (…@registry: task-key.ts)
//     partial/<algorithm>-<hex digits>                        blobs being put together, sparse, pieces at their offset
//     index/                                                  level: what is held of each blob (piece-index.ts)
import { join } from 'node:path'
import type { Digest } from '../../shared/digest.ts'
import { isTaskKey } from '../../shared/task-key.ts'

const ALGORITHMS = ['sha256', 'sha512'] as const

/** Where a store keeps its blobs, and how much of them. */
export interface DiskStoreInit {
  readonly dataDir: string
  /** Bytes of pieces, all blobs together. */
  readonly quotaBytes: number
  /** Space of the file system that is left to others, in bytes. */
  readonly minFreeBytes: number
}

export class StoreLayout {
  readonly dataDir: string
  readonly indexDir: string
  readonly partialDir: string
  readonly #blobsDir: string

  constructor(dataDir: string) {
    this.dataDir = dataDir
    this.indexDir = join(dataDir, 'index')
    this.partialDir = join(dataDir, 'partial')
    this.#blobsDir = join(dataDir, 'blobs')
  }

  /** The directory of a complete blob. */
  finalDir(digest: Digest): string {
    const [algorithm, hex] = splitDigest(digest)
    return join(this.#blobsDir, algorithm, hex.slice(0, 2))
  }

  finalPath(digest: Digest): string {
    return join(this.finalDir(digest), splitDigest(digest)[1])
  }

  partialPath(digest: Digest): string {
    return join(this.partialDir, splitDigest(digest).join('-'))
  }

  /** The directories whose sub-directories hold complete blobs, by algorithm. */
  algorithmDirs(): { algorithm: string; dir: string }[] {
    return ALGORITHMS.map(algorithm => ({ algorithm, dir: join(this.#blobsDir, algorithm) }))
  }
}

/** The digest that a file name in partial/ stands for; undefined if it is none of ours. */
export function parsePartialName(name: string): Digest | undefined {
  const digest = name.replace('-', ':')
  return isTaskKey(digest) ? digest : undefined
}

/** The digest that a file under blobs/ stands for; undefined if it is none of ours. */
export function parseFinalName(algorithm: string, fanOut: string, name: string): Digest | undefined {
  const digest = `${algorithm}:${name}`
  return isTaskKey(digest) && name.startsWith(fanOut) && fanOut.length === 2 ? digest : undefined
}

function splitDigest(digest: Digest): [algorithm: string, hex: string] {
  const colon = digest.indexOf(':')
  return [digest.slice(0, colon), digest.slice(colon + 1)]
}
