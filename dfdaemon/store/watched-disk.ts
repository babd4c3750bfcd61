// The disk with a bound on calls at a time, and word of it when it does nothing any more: slow is waited for, stuck is not.
import { setMaxListeners } from 'node:events'
import type { Clock, Timer } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { Disk } from './disk.ts'

export interface WatchedDiskInit {
  /** Calls at a time; each holds a thread, and name lookups need one, too. More wait: as many as their callers have buffers for. */
  readonly callsMax: number
  /** With calls under way and none done for this long, in ms, the disk is stuck. */
  readonly stuckMs: number
}

/** Calls to the disk at a time, and how long it may do nothing with some under way before it is called stuck, in ms. */
const DISK_CALLS_MAX = 4
const DISK_STUCK_MS = 10_000

/** Looks so many times before it calls the disk stuck: a process that was stopped for long and goes on looks once. */
const LOOKS = 8

export class WatchedDisk implements Disk {
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #init: WatchedDiskInit
  readonly #waiting: (() => void)[] = []
  #stuck = freshSignal()
  #running = 0
  /** Looks in a row between which no call was done. */
  #idleLooks = 0
  #look: Timer | undefined

  constructor(components: { disk: Disk; clock: Clock; logger: Logger }, init: Partial<WatchedDiskInit> = {}) {
    this.#disk = components.disk
    this.#clock = components.clock
    this.#logger = components.logger
    this.#init = { callsMax: DISK_CALLS_MAX, stuckMs: DISK_STUCK_MS, ...init }
  }

  /** Aborted with STORE_FAILED while the disk is stuck; another one from when it moves again. */
  get stuck(): AbortSignal {
    return this.#stuck.signal
  }

  makeDirectory(path: string): Promise<void> {
    return this.#run(() => this.#disk.makeDirectory(path))
  }

  listDirectory(path: string): Promise<string[]> {
    return this.#run(() => this.#disk.listDirectory(path))
  }

  createFile(path: string, size: number): Promise<number> {
    return this.#run(() => this.#disk.createFile(path, size))
  }

  openFile(path: string): Promise<number> {
    return this.#run(() => this.#disk.openFile(path))
  }

  closeFile(fd: number): Promise<void> {
    return this.#run(() => this.#disk.closeFile(fd))
  }

  read(fd: number, into: Uint8Array, position: number): Promise<void> {
    return this.#run(() => this.#disk.read(fd, into, position))
  }

  write(fd: number, bytes: Uint8Array, position: number): Promise<void> {
    return this.#run(() => this.#disk.write(fd, bytes, position))
  }

  /** Takes what it takes: nobody who reads waits for it. */
  sync(fd: number): Promise<void> {
    return this.#disk.sync(fd)
  }

  syncDirectory(path: string): Promise<void> {
    return this.#disk.syncDirectory(path)
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run(() => this.#disk.rename(from, to))
  }

  removeFile(path: string): Promise<void> {
    return this.#run(() => this.#disk.removeFile(path))
  }

  fileStat(path: string): Promise<{ size: number; changedAt: number }> {
    return this.#run(() => this.#disk.fileStat(path))
  }

  freeBytes(path: string): Promise<number> {
    return this.#run(() => this.#disk.freeBytes(path))
  }

  async #run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#running < this.#init.callsMax) this.#running++
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
    if (this.#look === undefined) this.#lookSoon()
    try {
      return await call()
    } finally {
      this.#noteDone()
      // Its place goes to the next in line.
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }

  #noteDone(): void {
    this.#idleLooks = 0
    if (!this.#stuck.signal.aborted) return
    this.#stuck = freshSignal()
    this.#logger.warn('the disk moves again')
  }

  #lookSoon(): void {
    this.#look = this.#clock.after(this.#init.stuckMs / LOOKS, () => {
      this.#look = undefined
      if (this.#running === 0) {
        this.#idleLooks = 0
        return
      }
      this.#lookSoon()
      this.#idleLooks++
      if (this.#idleLooks < LOOKS || this.#stuck.signal.aborted) return
      const seconds = this.#init.stuckMs / 1000
      const detail = `the disk has done nothing for ${seconds} s, with ${this.#running} calls under way`
      this.#logger.error(
        { calls: this.#running, waiting: this.#waiting.length, seconds },
        'the disk is stuck',
      )
      this.#stuck.abort(new PantalaError('STORE_FAILED', { detail }))
    })
  }
}

function freshSignal(): AbortController {
  const controller = new AbortController()
  setMaxListeners(0, controller.signal)
  return controller
}
