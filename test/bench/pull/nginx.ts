// The baseline of a piece transfer: nginx sends the same number of bytes from disk, a Node client hashes and stores them.
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished, pipeline } from 'node:stream/promises'
import { findFreePorts, ServiceProcess } from '../../../cli/demo/processes.ts'
import { findCommand } from '../../harness/packages.ts'
import { makeNoise } from '../../harness/small-image.ts'
import { findChildren, readCpuSeconds } from '../measure.ts'

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
  const [port] = await findFreePorts(1)
  const nginx = new ServiceProcess({
    name: 'nginx',
    command: findCommand('nginx') ?? 'nginx',
    args: ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', join(directory, 'error.log')],
  })
  try {
    await mkdir(join(directory, 'www'))
    await writeNoise(join(directory, 'www', 'file'), bytes)
    await writeFile(join(directory, 'nginx.conf'), nginxConfig(directory, port!))
    nginx.start()
    const url = `http://127.0.0.1:${port}/file`
    const probe = async () => (await fetch(url, { method: 'HEAD' })).ok
    await nginx.waitUntil(probe, { deadlineMs: 10_000 })
    const senders = [nginx.pid!, ...findChildren(nginx.pid!)]
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
    await nginx.stop(3_000)
    await rm(directory, { recursive: true, force: true })
  }
}

function nginxConfig(directory: string, port: number): string {
  return `daemon off; worker_processes 1; pid ${directory}/pid; user root;
events {}
http { access_log off; sendfile on; root ${directory}/www; client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy; fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;
  server { listen 127.0.0.1:${port}; } }
`
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
