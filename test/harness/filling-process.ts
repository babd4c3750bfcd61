// Fills the small file system it is given with a store and other files, and tells as JSON what became of the store.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { startStore } from './disk-store-fixture.ts'
import { readAll, sampleBlob, storeBlob, writePieces } from './store-samples.ts'

const root = process.argv[2]!
const dataDir = join(root, 'store')
const ballast = join(root, 'ballast')

function fillUp(): void {
  const fd = fs.openSync(ballast, 'a')
  for (const bytes of [65_536, 4096])
    try {
      for (;;) fs.writeSync(fd, Buffer.alloc(bytes))
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
    }
  fs.closeSync(fd)
}

function measureFree(): number {
  const { bavail, bsize } = fs.statfsSync(root)
  return bavail * bsize
}

const large = Array.from({ length: 10 }, (_, index) => sampleBlob(`large ${index}`, 500_000, 100_000))
const small = Array.from({ length: 60 }, (_, index) => sampleBlob(`small ${index}`, 3000))
const store = await startStore(dataDir)
for (const blob of large) await storeBlob(store, blob)
const writers = await Promise.all(
  small.map(async blob => {
    const handle = await store.create(blob.digest, blob.geometry)
    await writePieces(handle, blob)
    return handle
  }),
)
const late = sampleBlob('late', 500_000, 100_000)
const writer = await store.create(late.digest, late.geometry)
fillUp()
const codes = new Set<string>()
for (const handle of writers) await handle.commit().catch(error => codes.add(error.code))
await writePieces(writer, late).catch(error => codes.add(error.code))

let readable = 0
for (const blob of large) {
  const handle = (await store.open(blob.digest))!
  if (Buffer.compare(await readAll(handle), blob.bytes) === 0) readable++
  await handle.close()
}
await store.delete(large[0]!.digest)
const freed = measureFree()

fs.rmSync(ballast)
for (const handle of writers) {
  await handle.commit()
  await handle.close()
}
await writePieces(writer, late)
await writer.commit()
await writer.close()
await store.stop()

const again = await startStore(dataDir)
// Asked at once: what was only found again by reading files would not count.
const complete = [...again.list()].filter(stat => stat.complete).length
await again.stop()
process.stdout.write(JSON.stringify({ codes: [...codes], readable, freed, complete }))
