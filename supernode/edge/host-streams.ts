// The open schedule streams by host: sends messages, cuts what is too slow. Decides nothing.

import { PantalaError } from '../../shared/errors.ts'
import { encodeMessage } from '../../shared/protocol/codec.ts'
import type { FrameStream } from '../../shared/protocol/framing.ts'
import type { HostId, SupernodeMessage } from '../../shared/protocol/messages.ts'
import type { Outbox } from '../outbox.ts'

/** Most bytes that wait for one host: its largest single answer, and room for pushes beside it. */
export const OUTBOUND_BYTES_MAX = 8 * 1024 * 1024

export class HostStreams implements Outbox {
  readonly #streams = new Map<HostId, FrameStream>()

  get size(): number {
    return this.#streams.size
  }

  /** Makes `frames` the host's stream, ending the one it had. */
  open(host: HostId, frames: FrameStream): void {
    const former = this.#streams.get(host)
    this.#streams.set(host, frames)
    former?.abort(new PantalaError('SUPERNODE_REFUSED', { detail: 'the host opened another stream' }))
  }

  /** Forgets the stream; false if the host has another by now. */
  close(host: HostId, frames: FrameStream): boolean {
    if (this.#streams.get(host) !== frames) return false
    this.#streams.delete(host)
    return true
  }

  send(host: HostId, message: SupernodeMessage): void {
    const frames = this.#streams.get(host)
    if (frames !== undefined) frames.send(encodeMessage(message))
  }

  broadcast(hosts: Iterable<HostId>, message: SupernodeMessage): void {
    let frame: Uint8Array | undefined
    for (const host of hosts) {
      const frames = this.#streams.get(host)
      if (frames === undefined) continue
      frame ??= encodeMessage(message)
      frames.send(frame)
    }
  }

  cut(host: HostId, reason: string): void {
    this.#streams.get(host)?.abort(new PantalaError('SUPERNODE_REFUSED', { detail: reason }))
  }

  /** Ends all, what is queued first. */
  async closeAll(timeoutMs: number): Promise<void> {
    await Promise.all([...this.#streams.values()].map(frames => frames.close(timeoutMs)))
  }
}
