// Reads a socket into one buffer again and again, as the `onread` option of net.connect does. On sockets that were accepted or wrapped
// Node has no public way, so this goes through its internals where they are as expected, and says so where they are not.
import type { Socket } from 'node:net'

interface SocketInternals {
  readonly _handle: { useUserBuffer?(buffer: Uint8Array): void } | null
}

/** Node's private fields by their descriptions; all sockets share the symbols. */
function findSymbols(socket: Socket): { buffer: symbol; callback: symbol; next: symbol } | undefined {
  const symbols = Object.getOwnPropertySymbols(socket)
  const find = (name: string) => symbols.find(symbol => symbol.description === name)
  const [buffer, callback, next] = [find('kBuffer'), find('kBufferCb'), find('kBufferGen')]
  if (buffer === undefined || callback === undefined || next === undefined) return undefined
  return { buffer, callback, next }
}

/** True if this Node lets sockets like this one be read into a buffer of ours. */
export function canReuseBuffer(socket: Socket): boolean {
  const handle = (socket as unknown as SocketInternals)._handle
  const fields = socket as unknown as Record<symbol, unknown>
  const symbols = findSymbols(socket)
  return (
    typeof handle?.useUserBuffer === 'function' && symbols !== undefined && fields[symbols.buffer] === null
  )
}

/**
 * From now on what arrives is written to `buffer` and told to `take` by its length, before anything else can arrive. No 'data' events come
 * any more; 'end', 'error' and 'close' do. Only if `canReuseBuffer`; the socket must have no 'data' listener and nothing buffered.
 */
export function readIntoBuffer(socket: Socket, buffer: Uint8Array, take: (length: number) => void): void {
  const symbols = findSymbols(socket)!
  const fields = socket as unknown as Record<symbol, unknown>
  fields[symbols.next] = null
  fields[symbols.callback] = (length: number): boolean => {
    take(length)
    return true
  }
  fields[symbols.buffer] = buffer
  ;(socket as unknown as SocketInternals)._handle!.useUserBuffer!(buffer)
  // Flowing, so that reading goes on and 'end' comes.
  socket.resume()
}
