// Measures moving pieces from one host to another on loopback, two processes: a bare stream of bytes, and disk to disk with verification
// through the real piece server and fetcher. Prints one JSON object; run it with --help for the options.
import { type ChildProcess, fork } from 'node:child_process'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

/** What one end spent between the first and the last byte. */
export interface EndFigures {
  readonly cpuSeconds: number
  readonly userSeconds: number
  readonly peakRssBytes: number
}

export interface TransferFigures {
  readonly kind: 'bare' | 'disk'
  readonly bytes: number
  readonly seconds: number
  readonly megabytesPerSecond: number
  readonly cpuSecondsPerGiB: { readonly sender: number; readonly receiver: number; readonly both: number }
  readonly peakRssMiB: { readonly sender: number; readonly receiver: number }
}

export interface TransferOptions {
  readonly kind: 'bare' | 'disk'
  readonly bytes: number
  /** Flags for both processes' node. */
  readonly nodeFlags: readonly string[]
  /** Stock parts instead of ours, for comparison. */
  readonly stock: boolean
  /** Pieces asked for at the same time. */
  readonly inFlight: number
}

const GiB = 2 ** 30

/** Runs the transfer several times and takes the run with the median rate. */
export async function measureMedianTransfer(
  options: TransferOptions,
  runs: number,
): Promise<TransferFigures> {
  const figures: TransferFigures[] = []
  for (let run = 0; run < runs; run++) figures.push(await measureTransfer(options))
  figures.sort((a, b) => a.megabytesPerSecond - b.megabytesPerSecond)
  return figures[Math.floor((runs - 1) / 2)]!
}

/** Runs one transfer. @throws Error if an end fails or a piece does not verify */
export async function measureTransfer(options: TransferOptions): Promise<TransferFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'pantala-bench-'))
  const ends: ChildProcess[] = []
  try {
    const file = join(folder, 'source')
    if (options.kind === 'disk') await fillFile(file, options.bytes)
    const sender = startEnd('sender', { ...options, file }, ends)
    const ready = await nextMessage(sender)
    const receiver = startEnd('receiver', { ...options, file: join(folder, 'copy'), ...ready }, ends)
    const done = (await nextMessage(receiver)) as { seconds: number; figures: EndFigures }
    sender.send('report')
    const sent = (await nextMessage(sender)) as { figures: EndFigures }
    const perGiB = (figures: EndFigures) => round(figures.cpuSeconds / (options.bytes / GiB))
    const mebibytes = (figures: EndFigures) => Math.round(figures.peakRssBytes / 2 ** 20)
    return {
      kind: options.kind,
      bytes: options.bytes,
      seconds: round(done.seconds),
      megabytesPerSecond: Math.round(options.bytes / 1e6 / done.seconds),
      cpuSecondsPerGiB: {
        sender: perGiB(sent.figures),
        receiver: perGiB(done.figures),
        both: round((sent.figures.cpuSeconds + done.figures.cpuSeconds) / (options.bytes / GiB)),
      },
      peakRssMiB: { sender: mebibytes(sent.figures), receiver: mebibytes(done.figures) },
    }
  } finally {
    await Promise.all(ends.map(stopEnd))
    await rm(folder, { recursive: true, force: true })
  }
}

function startEnd(role: string, init: object, ends: ChildProcess[]): ChildProcess {
  const { nodeFlags } = init as TransferOptions
  const end = fork(join(import.meta.dirname, 'piece-transfer-end.ts'), [role, JSON.stringify(init)], {
    execArgv: [...nodeFlags],
  })
  ends.push(end)
  return end
}

/** Ends go by themselves when they are let go, so that profiles asked for by flags are written. */
async function stopEnd(end: ChildProcess): Promise<void> {
  if (end.exitCode !== null || end.signalCode !== null) return
  const exited = new Promise(resolve => end.once('exit', resolve))
  const deadline = setTimeout(() => end.kill('SIGKILL'), 5_000)
  if (end.connected) end.disconnect()
  await exited
  clearTimeout(deadline)
}

function nextMessage(end: ChildProcess): Promise<object> {
  const { promise, resolve, reject } = Promise.withResolvers<object>()
  end.once('message', message => resolve(message as object))
  end.once('exit', code => reject(new Error(`an end of the transfer exited with ${code}`)))
  return promise
}

/** Bytes that do not compress or repeat within a piece, quickly made. */
async function fillFile(file: string, bytes: number): Promise<void> {
  const handle = await open(file, 'w')
  const block = Buffer.alloc(4 * 2 ** 20)
  for (let at = 0, word = 12345; at < block.byteLength; at += 4) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0
    block.writeUInt32LE(word, at)
  }
  for (let at = 0; at < bytes; at += block.byteLength) {
    block.writeUInt32LE(at / block.byteLength, 0)
    await handle.write(block, 0, Math.min(block.byteLength, bytes - at), at)
  }
  // The disk is not to be busy with this when the measurement begins.
  await handle.datasync()
  await handle.close()
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      kind: { type: 'string', multiple: true, default: ['bare', 'disk'] },
      gib: { type: 'string', default: '1' },
      runs: { type: 'string', default: '3' },
      flag: { type: 'string', multiple: true, default: ['--max-semi-space-size=2'] },
      stock: { type: 'boolean', default: false },
      'in-flight': { type: 'string', default: '4' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(
      '--kind bare|disk (repeat) --gib N --runs N --flag=NODE_FLAG (repeat) --stock --in-flight N\n',
    )
  } else {
    const results: TransferFigures[] = []
    for (const kind of values.kind)
      results.push(
        await measureMedianTransfer(
          {
            kind: kind === 'disk' ? 'disk' : 'bare',
            bytes: Number(values.gib) * GiB,
            nodeFlags: values.flag.filter(flag => flag !== ''),
            stock: values.stock,
            inFlight: Number(values['in-flight']),
          },
          Number(values.runs),
        ),
      )
    const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version }
    process.stdout.write(`${JSON.stringify({ machine, results }, null, 2)}\n`)
  }
}
