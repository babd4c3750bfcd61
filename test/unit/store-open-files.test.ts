// Descriptors are opened once, closed when idle and spare, and never under a read.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Disk, nodeDisk } from '../../dfdaemon/store/disk.ts'
import { BlobFile, OpenFiles } from '../../dfdaemon/store/open-files.ts'

/** A disk that has every file there is asked for, and tells what is open. */
class CountingDisk {
  readonly open = new Map<number, string>()
  opened = 0
  failure: Error | undefined
  /** While set, reads and openings wait for it. */
  gate: Promise<void> | undefined
  readonly disk: Disk = {
    ...nodeDisk,
    openFile: async path => {
      await this.gate
      if (this.failure !== undefined) throw this.failure
      this.open.set(++this.opened, path)
      return this.opened
    },
    closeFile: async fd => {
      assert(this.open.delete(fd), `descriptor ${fd} was closed twice`)
    },
    read: async fd => {
      await this.gate
      assert(this.open.has(fd), `descriptor ${fd} was read after it was closed`)
    },
  }
}

function setUp(openFilesMax: number): {
  disk: CountingDisk
  files: OpenFiles
  read: (file: BlobFile) => Promise<void>
} {
  const disk = new CountingDisk()
  const files = new OpenFiles({ disk: disk.disk }, { openFilesMax })
  return { disk, files, read: file => files.read(file, new Uint8Array(1), 0) }
}

test('readers at once share one opening and one descriptor', async () => {
  const { disk, files, read } = setUp(8)
  const file = new BlobFile('/a')
  await Promise.all([read(file), read(file), read(file)])
  await read(file)
  assert.equal(disk.opened, 1)
  assert.equal(files.count, 1)
  assert.equal(file.users, 0)
})

test('beyond the bound, those idle longest are closed, and opened again when they are used', async () => {
  const { disk, files, read } = setUp(2)
  const [a, b, c] = ['/a', '/b', '/c'].map(path => new BlobFile(path)) as [BlobFile, BlobFile, BlobFile]
  await read(a)
  await read(b)
  await read(a)
  await read(c)
  assert.deepEqual([...disk.open.values()], ['/a', '/c'])
  await read(b)
  assert.equal(disk.opened, 4)
  assert.equal(files.count, 2)
})

test('what is being read stays open beyond the bound, and goes with the next one', async () => {
  const { disk, files, read } = setUp(1)
  const busy = new BlobFile('/busy')
  await files.use(busy)
  await read(new BlobFile('/other'))
  assert(busy.fd > 0)
  files.release(busy)
  await read(new BlobFile('/third'))
  assert.deepEqual([...disk.open.values()], ['/third'])
})

test('a file without a name is never closed for others: it could not be opened again', async () => {
  const { disk, read } = setUp(1)
  const unnamed = new BlobFile('/unnamed')
  await read(unnamed)
  unnamed.unnamed = true
  for (const path of ['/a', '/b']) await read(new BlobFile(path))
  assert([...disk.open.values()].includes('/unnamed'))
})

test('closing waits for reads under way, and closing twice at once closes once', async () => {
  const { disk, files, read } = setUp(8)
  const file = new BlobFile('/a')
  await read(file)
  const { promise, resolve } = Promise.withResolvers<void>()
  disk.gate = promise
  const reading = read(file)
  const closing = Promise.all([files.close(file), files.close(file), files.closeAll()])
  assert.equal(disk.open.size, 1)
  resolve()
  await reading
  await closing
  assert.equal(disk.open.size, 0)
  assert.equal(files.count, 0)
})

test('an opening that fails fails all who wait for it, counts for nobody, and is tried again', async () => {
  const { disk, files, read } = setUp(8)
  const file = new BlobFile('/a')
  disk.failure = new Error('EMFILE: played')
  const results = await Promise.allSettled([read(file), read(file)])
  assert(results.every(result => result.status === 'rejected' && result.reason === disk.failure))
  assert.equal(file.users, 0)
  assert.equal(files.count, 0)
  disk.failure = undefined
  await read(file)
  await files.close(file)
  assert.equal(disk.open.size, 0)
})

test('a file that moved is opened where it is now', async () => {
  const { disk, files, read } = setUp(8)
  const file = new BlobFile('/old')
  await read(file)
  await files.close(file)
  file.path = '/new'
  await read(file)
  assert.deepEqual([...disk.open.values()], ['/new'])
})
