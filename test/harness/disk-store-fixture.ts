// Disk stores on directories of their own, with a disk that can be listened to, broken or photographed.
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Disk, nodeDisk } from '../../dfdaemon/store/disk.ts'
import { DiskStore } from '../../dfdaemon/store/disk-store.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'

export interface DiskStoreSettings {
  readonly quotaBytes?: number
  readonly minFreeBytes?: number
  readonly disk?: Disk
  /** One on which nothing waits longer than a few ms unless given. */
  readonly clock?: Clock
}

/** The machine's clock, but nothing waits longer than a few ms: index records are soon written, openers soon give up waiting. */
const hastyClock: Clock = {
  ...systemClock,
  after: (delayMs, task) => systemClock.after(Math.min(delayMs, 5), task),
}

/** A store that is started on `dataDir`. */
export async function startStore(dataDir: string, settings: DiskStoreSettings = {}): Promise<DiskStore> {
  const { quotaBytes = 1e9, minFreeBytes = 0, disk = nodeDisk, clock = hastyClock } = settings
  const components = { clock, logger: pino({ level: 'silent' }), disk }
  const store = new DiskStore(components, { dataDir, quotaBytes, minFreeBytes })
  await store.start()
  return store
}

/** In memory where there is such a file system: what is tested is the order of steps, not how long a disk takes for each. */
const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/** Runs with a new directory that is removed afterwards. */
export async function withDirectory<T>(run: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(parent, 'pantala-store-'))
  try {
    return await run(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

export type DiskCall = keyof Disk

/** A disk that calls `before` ahead of every call, with its arguments; what `before` throws or rejects with, the call does. */
export function listenedDisk(
  before: (call: DiskCall, args: readonly unknown[]) => void | Promise<void>,
  after: (call: DiskCall, args: readonly unknown[], result: unknown) => void = () => {},
): Disk {
  const listened = Object.entries(nodeDisk).map(([name, call]) => [
    name,
    async (...args: unknown[]) => {
      await before(name as DiskCall, args)
      const result: unknown = await (call as (...args: unknown[]) => Promise<unknown>)(...args)
      after(name as DiskCall, args, result)
      return result
    },
  ])
  return Object.fromEntries(listened) as Disk
}

/** Waits until `holds`, looking every few ms. @throws Error after `waitMs` */
export async function eventually(holds: () => boolean, waitMs = 5000): Promise<void> {
  const endMs = performance.now() + waitMs
  while (!holds()) {
    if (performance.now() > endMs) throw new Error('it did not come to pass in time')
    await new Promise(resolve => setTimeout(resolve, 3))
  }
}
