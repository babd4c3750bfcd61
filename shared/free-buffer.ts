// Frees a buffer's memory at once, where its owner knows that nobody reads or writes it any more.

/**
 * Left to the collector, large buffers that lived long stay until V8 marks its whole heap, on an idle host for hours. `buffer` must be all of its
 * ArrayBuffer (`Buffer.allocUnsafeSlow`); it is empty afterwards.
 */
export function freeBuffer(buffer: Buffer): void {
  ;(buffer.buffer as ArrayBuffer).transfer(0)
}
