// Reads a complete blob straight from the store; a piece that the disk can't give is dropped there, so that the next pull fetches it.
import { toPantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { pieceAt } from '../../shared/piece.ts'
import type { BlobHandle } from '../store/blob-store.ts'
import type { ReadingPlace } from './blob-reader.ts'

/** Closes `handle` when the reader leaves. What goes wrong while it reads is a PantalaError, STORE_FAILED. */
export function storedPlace(components: { logger: Logger }, handle: BlobHandle): ReadingPlace {
  return {
    blob: {
      geometry: handle.stat,
      full: true,
      complete: true,
      has: () => true,
      hashOf: piece => handle.pieceHash(piece),
      read: (position, into) =>
        handle.read(position, into).catch(async error => {
          await dropUnreadable(components, handle, { offset: position, length: into.byteLength }, error)
          throw toPantalaError(error, 'STORE_FAILED')
        }),
      wait: () => () => {},
    },
    from: 'cache',
    moveTo() {},
    leave: () => {
      handle.close().catch(() => {})
    },
  }
}

/** Only where it is the disk that can't give these bytes: a want of descriptors or memory says nothing of them. */
export async function dropUnreadable(
  { logger }: { logger: Logger },
  handle: BlobHandle,
  { offset, length }: { readonly offset: number; readonly length: number },
  error: Error,
): Promise<void> {
  const cause = error.cause as NodeJS.ErrnoException | undefined
  if (cause === undefined || (cause.code !== undefined && cause.code !== 'EIO')) return
  const { digest } = handle.stat
  logger.error({ err: error.message, digest, offset }, 'stored bytes can’t be read; their pieces are dropped')
  const last = pieceAt(handle.stat, offset + length - 1)
  for (let piece = pieceAt(handle.stat, offset); piece <= last; piece++)
    await handle.dropPiece(piece).catch(() => {})
}
