// A host whose real file system is too small, or fills up in the middle of a pull: every pull succeeds, and with room again it stores.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { findPlatformImage } from '../../cli/demo/oci-layout.ts'
import { eventually, type SpawnedHost, Swarm } from '../harness/swarm.ts'

const MiB = 1024 * 1024
const isRoot = process.getuid?.() === 0
const mayMount = isRoot && succeeds('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', tmpdir()])
const skip =
  mayMount || process.env['CI'] !== undefined ? false : 'needs root, to mount a file system of its own'

function succeeds(command: string, args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** A host on a file system of so many MiB, in a mount namespace of its own, and what the test does to it there. */
async function startOnSmallDisk(swarm: Swarm, mib: number) {
  let directory = ''
  const script = `mount -t tmpfs -o size=${mib}m tmpfs "$0" && exec "$@"`
  const host: SpawnedHost = await swarm.spawnHost('small', {
    wrap: (command, dataDir) => {
      directory = dataDir
      return ['unshare', '-m', 'sh', '-c', script, dataDir, ...command]
    },
  })
  const ballast = join('/proc', String(host.process.pid), 'root', directory, 'ballast')
  return {
    host,
    fill() {
      const fd = fs.openSync(ballast, 'a')
      try {
        for (;;) fs.writeSync(fd, Buffer.alloc(65_536))
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
      } finally {
        fs.closeSync(fd)
      }
    },
    empty: () => fs.rmSync(ballast),
  }
}

test('a blob larger than the disk passes through', { skip }, async t => {
  const swarm = await Swarm.start(t, { hosts: 0, layerBytes: [24 * MiB] })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const { host } = await startOnSmallDisk(swarm, 16)
  for (let time = 0; time < 2; time++) assert.equal((await swarm.pull(host)).bytes, image.bytes)
})

test('the disk fills up in the middle of a pull: the pull succeeds, and with room again the next one is stored', {
  skip,
}, async t => {
  const swarm = await Swarm.start(t, { hosts: 0, layerBytes: [16 * MiB] })
  const image = findPlatformImage(swarm.layout, 'v1', 'amd64')!
  const { host, fill, empty } = await startOnSmallDisk(swarm, 48)
  const lift = swarm.source.fail({ kind: 'slow', bytesPerSecond: 12 * MiB })
  const pull = swarm.pull(host)
  pull.catch(() => {})
  await eventually('a third was sent', () => swarm.source.bytesSent > image.bytes / 3)
  fill()
  assert.equal((await pull).bytes, image.bytes)
  lift()
  empty()
  assert.equal((await swarm.pull(host)).bytes, image.bytes)
  const before = (await swarm.counts(host)).fromCache
  assert.equal((await swarm.pull(host)).bytes, image.bytes)
  assert.ok((await swarm.counts(host)).fromCache >= before + 16 * MiB, 'it was kept')
})
