// A real process, killed with no warning while it stores: the next one finds all that was committed and nothing that is wrong.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { startStore, withDirectory } from '../harness/disk-store-fixture.ts'
import { readAll, sampleBlob } from '../harness/store-samples.ts'

const child = fileURLToPath(new URL('../harness/storing-process.ts', import.meta.url))

for (const afterLines of [1, 7, 20]) {
  test(`killed after ${afterLines} commits, in the middle of others`, { timeout: 30_000 }, async () => {
    await withDirectory(async dataDir => {
      const committed: string[] = []
      const process_ = spawn(process.execPath, [child, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] })
      const gone = once(process_, 'exit')
      for await (const line of createInterface(process_.stdout)) {
        committed.push(line)
        if (committed.length === afterLines) process_.kill('SIGKILL')
      }
      const [, signal] = await gone
      assert.equal(signal, 'SIGKILL')
      const store = await startStore(dataDir)
      try {
        for (const name of committed) {
          const handle = await store.open(sampleBlob(name, 50_000).digest)
          assert.equal(handle?.stat.complete, true, `${name} was lost`)
          await handle?.close()
        }
        for (const { digest } of store.list()) {
          const handle = (await store.open(digest))!
          const blob = sampleBlob(nameOf(digest), 50_000)
          if (handle.stat.complete) assert.deepEqual(await readAll(handle), blob.bytes)
          for (const piece of handle.stat.have.pieces()) {
            const into = new Uint8Array(blob.piece(piece).byteLength)
            await handle.read(piece * 4096, into)
            assert.deepEqual(into, Uint8Array.from(blob.piece(piece)))
          }
          await handle.close()
        }
      } finally {
        await store.stop()
      }
    })
  })
}

const names = new Map(
  Array.from({ length: 300 }, (_, index) => [sampleBlob(`${index}`, 50_000).digest, `${index}`]),
)

function nameOf(digest: ReturnType<typeof sampleBlob>['digest']): string {
  const name = names.get(digest)
  assert(name !== undefined, `${digest} was never stored`)
  return name
}
