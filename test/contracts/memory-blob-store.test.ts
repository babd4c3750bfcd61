// The store's twin in memory keeps the store's contract.
import { MemoryBlobStore } from '../doubles/memory-blob-store.ts'
import { blobStoreSuite } from './blob-store-suite.ts'

blobStoreSuite('MemoryBlobStore', async init => ({
  store: new MemoryBlobStore(init),
  dispose: async () => {},
}))
