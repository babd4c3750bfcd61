// One end of the piece transfer benchmark, as a process of its own: `sender` or `receiver`. Started by piece-transfer.ts only.
import assert from 'node:assert/strict'
import { type FileHandle, open, rm } from 'node:fs/promises'
import type { Libp2p, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import pino from 'pino'
import { PeerFetcher } from '../../../dfdaemon/fetch/peer-fetcher.ts'
import type { BlobHandle, BlobStat, BlobStore } from '../../../dfdaemon/store/blob-store.ts'
import { PieceServer } from '../../../dfdaemon/upload/piece-server.ts'
import { Bitfield } from '../../../shared/bitfield.ts'
import { systemClock } from '../../../shared/clock.ts'
import type { Digest } from '../../../shared/digest.ts'
import { type Geometry, pieceCount, pieceLength, pieceOffset } from '../../../shared/piece.ts'
import { hashPiece } from '../../../shared/piece-hash.ts'
import type { Candidate } from '../../../shared/protocol/messages.ts'
import { byteSender, takeBytes } from '../../../shared/transport/byte-stream.ts'
import { generateIdentity } from '../../../shared/transport/identity.ts'
import { createNode } from '../../../shared/transport/node.ts'
import type { EndFigures, TransferOptions } from './piece-transfer.ts'

const MiB = 2 ** 20
const BARE_PROTOCOL = '/pantala/bench/1'
const digest: Digest = `sha256:${'0'.repeat(64)}`
const logger = pino({ level: 'silent' })

const [role, text] = process.argv.slice(2)
const init = JSON.parse(text!) as TransferOptions & {
  file: string
  candidate?: Candidate
  hashes?: string[]
}
const geometry: Geometry = { size: init.bytes, pieceSize: 4 * MiB }

function startFigures(): () => EndFigures {
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return {
      cpuSeconds: (user + system) / 1e6,
      userSeconds: user / 1e6,
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
    }
  }
}

async function startNode(listen: string[]): Promise<Libp2p> {
  return createNode({
    privateKey: await generateIdentity(),
    listen,
    nativeTls: !init.stock,
    leanMuxer: !init.stock,
  })
}

// ---- sender ----

async function runSender(): Promise<void> {
  const node = await startNode(['/ip4/127.0.0.1/tcp/0'])
  let figures = startFigures()
  await node.handle(BARE_PROTOCOL, stream => {
    figures = startFigures()
    sendBare(stream)
  })
  const hashes = init.kind === 'disk' ? await servePieces(node, () => (figures = startFigures())) : []
  const candidate = { host: node.peerId.toString(), addresses: node.getMultiaddrs().map(String), seed: false }
  process.on('message', () => process.send!({ figures: figures() }))
  process.send!({ candidate, hashes })
}

function sendBare(stream: Stream): void {
  const sender = byteSender(stream)
  const room = 64
  const buffers = [0, 1].map(() => Buffer.alloc(room + 256 * 1024, 1))
  let left = init.bytes
  const sendNext = (buffer: Buffer): void => {
    const count = Math.min(buffer.byteLength - room, left)
    if (count === 0) return
    left -= count
    sender.sendChunk(buffer, room, room + count, () =>
      sendNext(sender.returnsBuffers ? buffer : Buffer.alloc(buffer.byteLength, 1)),
    )
  }
  for (const buffer of buffers) sendNext(buffer)
}

async function servePieces(node: Libp2p, onFirst: () => void): Promise<string[]> {
  const file = await open(init.file, 'r')
  const hashes: string[] = []
  const bytes = Buffer.allocUnsafe(geometry.pieceSize)
  for (let piece = 0; piece < pieceCount(geometry); piece++) {
    const into = bytes.subarray(0, pieceLength(geometry, piece))
    await file.read(into, 0, into.byteLength, pieceOffset(geometry, piece))
    hashes.push(Buffer.from(hashPiece(into)).toString('hex'))
  }
  const server = new PieceServer(
    {
      node,
      store: openFileStore(file),
      clock: systemClock,
      logger,
      admits: () => {
        onFirst()
        return true
      },
    },
    { slots: 16 },
  )
  await server.start()
  return hashes
}

/** As much of a store as the piece server uses: one complete blob in a file. */
function openFileStore(file: FileHandle): BlobStore {
  const stat: BlobStat = {
    ...geometry,
    digest,
    have: Bitfield.full(pieceCount(geometry)),
    complete: true,
    usedAt: 0,
  }
  const handle: Pick<BlobHandle, 'stat' | 'read' | 'close'> = {
    stat,
    read: async (position, into) => {
      const { bytesRead } = await file.read(into, 0, into.byteLength, position)
      assert.equal(bytesRead, into.byteLength)
    },
    close: async () => {},
  }
  const store: Pick<BlobStore, 'stat' | 'open' | 'watch'> = {
    stat: () => stat,
    open: async () => handle as BlobHandle,
    watch: () => () => {},
  }
  return store as BlobStore
}

// ---- receiver ----

async function runReceiver(): Promise<void> {
  if (init.kind === 'disk') await warmPageCache(init.file)
  const node = await startNode([])
  const addresses = init.candidate!.addresses.map(address => multiaddr(address))
  // The handshake is not what is measured.
  await node.dial(addresses)
  const report = startFigures()
  const begin = performance.now()
  if (init.kind === 'bare') await receiveBare(await node.dialProtocol(addresses, BARE_PROTOCOL))
  else await fetchPieces(node)
  process.send!({ seconds: (performance.now() - begin) / 1000, figures: report() })
}

/**
 * On a virtual machine that gives free memory back to its host, the first use of a page costs many times the writing itself. What a host
 * pays that has been up for a while is measured instead: the pages are used once and freed right before.
 */
async function warmPageCache(file: string): Promise<void> {
  const handle = await open(`${file}.warm`, 'w')
  const bytes = Buffer.alloc(geometry.pieceSize, 1)
  for (let at = 0; at < init.bytes; at += bytes.byteLength) await handle.write(bytes, 0, bytes.byteLength, at)
  await handle.close()
  await rm(`${file}.warm`)
}

function receiveBare(stream: Stream): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  let received = 0
  takeBytes(stream, (_buffer, start, end) => {
    received += end - start
    if (received === init.bytes) resolve()
  })
  return promise
}

async function fetchPieces(node: Libp2p): Promise<void> {
  const file = await open(init.file, 'w')
  const fetcher = new PeerFetcher({ node, clock: systemClock, logger, ticket: () => undefined })
  const signal = new AbortController().signal
  const closed = Promise.withResolvers<never>()
  const listener = { onHave: () => {}, onClose: (error: Error) => closed.reject(error) }
  const link = await fetcher.connect(init.candidate!, digest, geometry, listener, signal)
  let next = 0
  const fetchSome = async (): Promise<void> => {
    // Two buffers each: one is filled while the other is checked and written.
    const buffers = [0, 1].map(() => Buffer.allocUnsafeSlow(geometry.pieceSize))
    let writing: Promise<unknown> = Promise.resolve()
    for (let turn = 0; next < pieceCount(geometry); turn++) {
      const piece = next++
      const into = buffers[turn % 2]!.subarray(0, pieceLength(geometry, piece))
      await link.fetch(piece, into, signal)
      assert.equal(Buffer.from(hashPiece(into)).toString('hex'), init.hashes![piece])
      await writing
      writing = file.write(into, 0, into.byteLength, pieceOffset(geometry, piece))
    }
    await writing
  }
  await Promise.race([Promise.all(Array.from({ length: init.inFlight }, fetchSome)), closed.promise])
  link.close()
  await file.close()
}

process.once('disconnect', () => process.exit(0))
if (role === 'sender') await runSender()
else await runReceiver()
