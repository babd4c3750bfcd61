// Cuts what a host holds into announce messages that fit their frames. Sends nothing itself.
import { HOLDINGS_PER_ANNOUNCE_MAX, HOST_FRAME_BYTES_MAX } from '../../shared/protocol/limits.ts'
import type { Announce, Holding } from '../../shared/protocol/messages.ts'

/** Half a frame, so that CBOR's own bytes certainly fit. */
const HOLDINGS_BYTES_MAX = HOST_FRAME_BYTES_MAX / 2
const HOLDING_BYTES = 220

/** The messages, made one at a time; there is always at least one, and the last says so. */
export function* makeAnnounces(holdings: Iterable<Holding>): Generator<Announce> {
  let batch: Holding[] = []
  let bytes = 0
  for (const holding of holdings) {
    const holdingBytes = HOLDING_BYTES + (holding.have?.byteLength ?? 0)
    if (batch.length === HOLDINGS_PER_ANNOUNCE_MAX || bytes + holdingBytes > HOLDINGS_BYTES_MAX) {
      yield { type: 'announce', holdings: batch, last: false }
      batch = []
      bytes = 0
    }
    batch.push(holding)
    bytes += holdingBytes
  }
  yield { type: 'announce', holdings: batch, last: true }
}
