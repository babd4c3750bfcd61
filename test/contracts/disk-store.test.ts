// The store on disk keeps the store's contract.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { DiskStore } from '../../dfdaemon/store/disk-store.ts'
import { systemClock } from '../../shared/clock.ts'
import { blobStoreSuite } from './blob-store-suite.ts'

blobStoreSuite('DiskStore', async init => {
  const dataDir = await mkdtemp(join(tmpdir(), 'pantala-store-'))
  const store = new DiskStore(
    { clock: systemClock, logger: pino({ level: 'silent' }) },
    { dataDir, quotaBytes: init.quotaBytes ?? 1e9, minFreeBytes: 0 },
  )
  await store.start()
  return {
    store,
    dispose: async () => {
      await store.stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
})
