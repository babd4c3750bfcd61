// The piece fetcher's twin in memory keeps the contract.
import { MemoryBlobStore } from '../doubles/memory-blob-store.ts'
import { MemoryPieceFetcher } from '../doubles/memory-piece-fetcher.ts'
import { pieceFetcherSuite } from './piece-fetcher-suite.ts'

pieceFetcherSuite('MemoryPieceFetcher', async () => {
  const fetcher = new MemoryPieceFetcher()
  let count = 0
  return {
    fetcher,
    addParent: async () => {
      const store = new MemoryBlobStore()
      const host = `host-${count++}`
      return {
        candidate: fetcher.addParent(host, store),
        store,
        die: async () => fetcher.removeParent(host),
      }
    },
  }
})
