// How a scenario of the store's suite is told, and what it starts from.
import type { BlobStore } from '../../dfdaemon/store/blob-store.ts'
import type { Digest } from '../../shared/digest.ts'

export interface SuiteInit {
  readonly quotaBytes?: number
}

/** Runs a scenario against a store of its own. */
export type Scenario = (told: string, run: (store: BlobStore) => Promise<void>, init?: SuiteInit) => void

/** What the store holds, sorted. */
export const held = (store: BlobStore): Digest[] => [...store.list()].map(stat => stat.digest).sort()
