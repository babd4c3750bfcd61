// `pantala pull`: pulls an image through a dfdaemon, checks every digest, shows a bar, and keeps an OCI layout if asked.
import { SingleBar } from 'cli-progress'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { formatBytes, formatSeconds } from '../demo/report.ts'
import { type ImageReference, parseReference } from '../pull/reference.ts'
import { onStopSignal } from './stop-signal.ts'

interface PullFlags {
  readonly dfdaemon: string
  readonly output?: string
  readonly platform: { os: string; architecture: string }
  readonly json?: true
}

export function addPullCommand(program: Command): void {
  program
    .command('pull')
    .description('pull an image through a dfdaemon as a runtime would: every blob, every digest checked')
    .argument('<ref>', 'image, as team/app:1.0 or registry.lab/team/app@sha256:…', readReference)
    .option('--dfdaemon <url>', 'the dfdaemon’s proxy', readUrl, 'http://127.0.0.1:65001')
    .option('--output <dir>', 'keep the image there as an OCI image layout')
    .addOption(
      new Option('--platform <os/arch>', 'which image of an index to take')
        .argParser(readPlatform)
        .default(defaultPlatform(), `linux/${defaultPlatform().architecture}`),
    )
    .option('--json', 'print one JSON object')
    .action(async ({ ref, image }: { ref: string; image: ImageReference }, flags: PullFlags) => {
      const { pullImage } = await import('../pull/pull-image.ts')
      const stop = onStopSignal()
      const bar = makeBar(!flags.json && process.stderr.isTTY === true)
      const startedAt = performance.now()
      try {
        const pulled = await pullImage(
          { registryUrl: flags.dfdaemon, image, platform: flags.platform, output: flags.output },
          { onSize: bytes => bar.start(bytes), onBytes: bytes => bar.add(bytes) },
          stop.signal,
        )
        bar.stop()
        const ms = Math.round(performance.now() - startedAt)
        const blobs = pulled.blobs.map(blob => ({ ...blob, ok: true }))
        process.stdout.write(
          flags.json
            ? `${JSON.stringify({ ref, digest: pulled.digest, bytes: pulled.bytes, ms, blobs }, undefined, 2)}\n`
            : `${ref}\n  ${pulled.digest}\n  ${formatBytes(pulled.bytes)} in ${formatSeconds(ms)}, ${blobs.length} blobs verified\n`,
        )
      } finally {
        bar.stop()
        stop.release()
      }
    })
}

function makeBar(shown: boolean): { start(total: number): void; add(bytes: number): void; stop(): void } {
  if (!shown) return { start() {}, add() {}, stop() {} }
  const bar = new SingleBar({
    format: '{bar} {percentage} %  {done} of {size}',
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  })
  let total = 0
  let done = 0
  return {
    start(bytes) {
      total = bytes
      bar.start(bytes, 0, { done: formatBytes(0), size: formatBytes(bytes) })
    },
    add(bytes) {
      done += bytes
      bar.update(Math.min(done, total), { done: formatBytes(done) })
    },
    stop: () => bar.stop(),
  }
}

function readReference(ref: string): { ref: string; image: ImageReference } {
  try {
    return { ref, image: parseReference(ref) }
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

function readUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new InvalidArgumentError('It must be an http:// or https:// URL.')
  return text
}

function readPlatform(text: string): PullFlags['platform'] {
  const parts = /^([a-z0-9]+)\/([a-z0-9]+)$/.exec(text)
  if (parts === null) throw new InvalidArgumentError('It must be like linux/amd64.')
  return { os: parts[1]!, architecture: parts[2]! }
}

/** The image a runtime on this machine would take; containers are Linux's. */
function defaultPlatform(): PullFlags['platform'] {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' }
  return { os: 'linux', architecture: names[process.arch] ?? process.arch }
}
