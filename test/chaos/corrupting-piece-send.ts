// In place of dfdaemon/upload/piece-send.ts in the corrupting image only: every other piece that it sends has a flipped bit.
import { PieceSend as HonestPieceSend } from '../../dfdaemon/upload/piece-send.ts'

export { CHUNK_HEAD_BYTES, CHUNKS_AHEAD, type SendOutcome } from '../../dfdaemon/upload/piece-send.ts'

type Components = ConstructorParameters<typeof HonestPieceSend>[0]
type Init = ConstructorParameters<typeof HonestPieceSend>[1]

export class PieceSend extends HonestPieceSend {
  constructor(components: Components, init: Init) {
    const { handle } = components
    const read = async (position: number, into: Buffer) => {
      await handle.read(position, into)
      into[into.byteLength >> 1]! ^= 0x10
    }
    // Reading is all that sending needs.
    const lying = { stat: handle.stat, read } as Components['handle']
    super(init.piece % 2 === 0 ? components : { ...components, handle: lying }, init)
  }
}
