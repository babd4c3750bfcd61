// The baseline of a piece transfer: nginx sends the same number of bytes from disk, a Node client hashes and stores them.
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished, pipeline } from 'node:stream/promises'
import { makeNoise } from '../../harness/small-image.ts'
import { findChildren, readCpuSeconds } from '../measure.ts'
import { NginxServer } from '../nginx-server.ts'

export interface NginxFigures {
  readonly bytes: number
  readonly megabytesPerSecond: number
  /** Sender (nginx) and receiver (this process), in CPU seconds per GiB. */
  readonly cpuSecondsPerGiB: { readonly sender: number; readonly receiver: number; readonly both: number }
}

const MiB = 2 ** 20

/** One transfer from nginx: `bare` counts the bytes, `disk` hashes and stores them. @throws Error if nginx is missing or fails */
export async function measureNginx(kind: 'bare' | 'disk', bytes: number): Promise<NginxFigures> {
  const directory = await mkdtemp(join(tmpdir(), 'pantala-nginx-'))
  const nginx = new NginxServer()
  try {
    await mkdir(join(directory, 'www'))
    await writeNoise(join(directory, 'www', 'file'), bytes)
    await nginx.start(join(directory, 'www'))
    const url = `${nginx.url}/file`
    const senders = [nginx.pid, ...findChildren(nginx.pid)]
    const sum = () => senders.reduce((total, pid) => total + readCpuSeconds(pid), 0)
    const senderBefore = sum()
    const own = process.cpuUsage()
    const started = performance.now()
    await receive(url, kind === 'bare' ? undefined : join(directory, 'copy'), bytes)
    const seconds = (performance.now() - started) / 1000
    const { user, system } = process.cpuUsage(own)
    const perGiB = (cpuSeconds: number) => cpuSeconds / (bytes / 2 ** 30)
    const sender = perGiB(sum() - senderBefore)
    const receiver = perGiB((user + system) / 1e6)
    return {
      bytes,
      megabytesPerSecond: bytes / 1e6 / seconds,
      cpuSecondsPerGiB: { sender, receiver, both: sender + receiver },
    }
  } finally {
    await nginx.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

async function writeNoise(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w')
  for (let offset = 0; offset < bytes; offset += 16 * MiB)
    await file.write(makeNoise(String(offset), Math.min(16 * MiB, bytes - offset)))
  await file.close()
}

/** Counts only (`bare`), or hashes with SHA-256 as a runtime would and writes to disk; the stream waits for the disk. */
async function receive(url: string, path: string | undefined, bytes: number): Promise<void> {
  const hash = createHash('sha256')
  let received = 0
  const take = (chunk: Buffer) => {
    received += chunk.byteLength
    if (path !== undefined) hash.update(chunk)
  }
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request(url, resolve).on('error', reject).end()
  })
  answer.on('data', take)
  if (path === undefined) await finished(answer)
  else await pipeline(answer, createWriteStream(path, { highWaterMark: 4 * MiB }))
  hash.digest()
  if (received !== bytes) throw new Error(`nginx sent ${received} of ${bytes} bytes`)
}
