// Stores blobs in the directory it is given, four at a time, and names each on a line of its own once its commit has returned.
import { startStore } from './disk-store-fixture.ts'
import { sampleBlob, storeBlob } from './store-samples.ts'

const store = await startStore(process.argv[2]!)
const names = Array.from({ length: 300 }, (_, index) => `${index}`)
await Promise.all(
  [0, 1, 2, 3].map(async () => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      await storeBlob(store, sampleBlob(name, 50_000))
      process.stdout.write(`${name}\n`)
    }
  }),
)
await store.stop()
