// A process killed, or a machine that loses power, at every step of the store: what is found afterwards is never wrong and never too little.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import type { DiskStore } from '../../dfdaemon/store/disk-store.ts'
import type { Digest } from '../../shared/digest.ts'
import { type DiskCall, listenedDisk, startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import { KiB, type SampleBlob, sampleBlob, storeBlob, writePieces } from '../harness/store-samples.ts'

const one = sampleBlob('one')
const two = sampleBlob('two', 9 * KiB)
const three = sampleBlob('three', 30 * KiB)
const samples = [one, two, three]
const changing: readonly DiskCall[] = ['createFile', 'write', 'sync', 'syncDirectory', 'rename', 'removeFile']

/** One picture of the data directory, and what must be found in it. */
interface Picture {
  readonly told: string
  readonly directory: string
  readonly complete: readonly Digest[]
}

/** Takes pictures of `dataDir` before and after every change of a file. */
class Photographer {
  readonly pictures: Picture[] = []
  /** Blobs whose commit has returned and which nobody has touched since. */
  readonly complete = new Set<Digest>()
  readonly #dataDir: string
  readonly #album: string
  readonly #powerLoss: boolean
  readonly #paths = new Map<number, string>()
  /** Written, not synced: what a power cut may spoil. */
  readonly #unsynced = new Map<string, { position: number; length: number }[]>()
  #unsyncedRename: { from: string; to: string } | undefined

  constructor(dataDir: string, album: string, powerLoss: boolean) {
    this.#dataDir = dataDir
    this.#album = album
    this.#powerLoss = powerLoss
  }

  readonly disk = listenedDisk(
    (call, args) => {
      if (call === 'write') this.#noteWrite(args)
      if (changing.includes(call))
        this.#take(`before ${call} ${args.filter(arg => typeof arg !== 'object').join(' ')}`)
    },
    (call, args, result) => {
      this.#noteDone(call, args, result)
      if (changing.includes(call))
        this.#take(`after ${call} ${args.filter(arg => typeof arg !== 'object').join(' ')}`)
    },
  )

  #noteWrite([fd, bytes, position]: readonly unknown[]): void {
    const path = this.#paths.get(fd as number)!
    const ranges = this.#unsynced.get(path) ?? []
    ranges.push({ position: position as number, length: (bytes as Uint8Array).byteLength })
    this.#unsynced.set(path, ranges)
  }

  #noteDone(call: DiskCall, args: readonly unknown[], result: unknown): void {
    if (call === 'createFile' || call === 'openFile') this.#paths.set(result as number, args[0] as string)
    if (call === 'sync') this.#unsynced.delete(this.#paths.get(args[0] as number)!)
    if (call === 'syncDirectory' && this.#unsyncedRename && dirname(this.#unsyncedRename.to) === args[0])
      this.#unsyncedRename = undefined
    if (call !== 'rename') return
    const [from, to] = args as [string, string]
    this.#unsyncedRename = { from, to }
    for (const [fd, path] of this.#paths) if (path === from) this.#paths.set(fd, to)
    const ranges = this.#unsynced.get(from)
    if (ranges !== undefined) this.#unsynced.set(to, ranges)
    this.#unsynced.delete(from)
  }

  #take(told: string): void {
    const directory = join(this.#album, String(this.pictures.length))
    fs.cpSync(this.#dataDir, directory, { recursive: true })
    const copyOf = (path: string): string => join(directory, relative(this.#dataDir, path))
    if (this.#powerLoss) {
      for (const [path, ranges] of this.#unsynced) {
        if (!fs.existsSync(copyOf(path))) continue
        const fd = fs.openSync(copyOf(path), 'r+')
        for (const { position, length } of ranges)
          fs.writeSync(fd, Buffer.alloc(length, 0xee), 0, length, position)
        fs.closeSync(fd)
      }
      const rename = this.#unsyncedRename
      if (rename && fs.existsSync(copyOf(rename.to))) fs.renameSync(copyOf(rename.to), copyOf(rename.from))
    }
    this.pictures.push({ told: told.replaceAll(this.#dataDir, ''), directory, complete: [...this.complete] })
  }
}

/** Every way a blob changes: made, written, committed, found rotten, mended, evicted, deleted, discarded, made again. */
async function live(store: DiskStore, photographer: Photographer): Promise<void> {
  await storeBlob(store, one)
  photographer.complete.add(one.digest)
  const partial = await store.create(two.digest, two.geometry)
  await writePieces(partial, two, [2, 0])
  await partial.close()
  photographer.complete.delete(one.digest)
  const rotten = (await store.open(one.digest))!
  await rotten.dropPiece(1)
  await writePieces(rotten, one, [1])
  await rotten.commit()
  photographer.complete.add(one.digest)
  await rotten.close()
  await storeBlob(store, two)
  photographer.complete.clear()
  await storeBlob(store, three)
  photographer.complete.add(three.digest)
  photographer.complete.delete(three.digest)
  await store.delete(three.digest)
  const wrong = await store.create(one.digest, one.geometry)
  await writePieces(wrong, one)
  await wrong.discard()
  await wrong.close()
  await storeBlob(store, one)
  photographer.complete.add(one.digest)
}

async function checkBlob(store: DiskStore, blob: SampleBlob, mustBeComplete: boolean): Promise<void> {
  const handle = await store.open(blob.digest)
  try {
    if (mustBeComplete) assert.equal(handle?.stat.complete, true, 'a committed blob was lost')
    if (handle === undefined) return
    const { have, complete } = handle.stat
    assert(!complete || have.isFull)
    for (const piece of have.pieces()) {
      const into = new Uint8Array(blob.piece(piece).byteLength)
      await handle.read(piece * handle.stat.pieceSize, into)
      assert.deepEqual(into, Uint8Array.from(blob.piece(piece)), `piece ${piece} is wrong`)
    }
  } finally {
    await handle?.close()
  }
}

for (const powerLoss of [false, true]) {
  test(`${powerLoss ? 'a power cut' : 'a kill'} between any two steps leaves nothing wrong and loses nothing that was committed`, async () => {
    await withDirectory(async album => {
      const photographer = await withDirectory(async dataDir => {
        const taking = new Photographer(dataDir, album, powerLoss)
        const store = await startStore(dataDir, { quotaBytes: 32 * KiB, disk: taking.disk })
        await live(store, taking)
        await store.stop()
        return taking
      })
      assert(photographer.pictures.length > 60, `only ${photographer.pictures.length} pictures`)
      for (const { told, directory, complete } of photographer.pictures) {
        try {
          const store = await startStore(directory)
          for (const blob of samples) await checkBlob(store, blob, complete.includes(blob.digest))
          await storeBlob(store, one)
          await checkBlob(store, one, true)
          await store.stop()
        } catch (error) {
          throw new Error(`crash ${told}`, { cause: error })
        }
        fs.rmSync(directory, { recursive: true, force: true })
      }
    })
  })
}
