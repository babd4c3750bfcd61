// Who may take part: the proof a host gives the supernode (cluster secret), and the ticket it shows to other hosts (supernode's signature).
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto'
import type { Clock } from '../clock.ts'
import type { HostId } from './messages.ts'

const PROOF_CONTEXT = 'pantala-proof-1'
const TICKET_CONTEXT = 'pantala-ticket-1'
const TICKET_VERSION = 1
const TICKET_BYTES = 1 + 8 + 64
/** How long after its end a ticket is still taken, in ms: messages travel, clocks drift. */
export const CLOCK_SKEW_MS_MAX = 2 * 60_000
/** Tickets remembered as good, so that a signature is checked once. */
const REMEMBERED_MAX = 4096

/**
 * Proves knowledge of the cluster secret to one supernode, for one host. The connection has already proved both PeerIds, so the proof
 * is of no use to anyone who sees it.
 */
export function makeProof(secret: string, supernodeId: HostId, hostId: HostId): Uint8Array {
  return createHmac('sha256', secret).update(`${PROOF_CONTEXT}\n${supernodeId}\n${hostId}`).digest()
}

export function checkProof(
  secret: string,
  supernodeId: HostId,
  hostId: HostId,
  proof: Uint8Array | undefined,
): boolean {
  const wanted = makeProof(secret, supernodeId, hostId)
  return proof !== undefined && proof.byteLength === wanted.byteLength && timingSafeEqual(proof, wanted)
}

/** A PKCS #8 header for an Ed25519 seed, and an SPKI header for a public key (RFC 8410). */
const pkcs8Header = Buffer.from('302e020100300506032b657004220420', 'hex')
const spkiHeader = Buffer.from('302a300506032b6570032100', 'hex')

/** Signs tickets with the supernode's identity. `rawPrivateKey`: Ed25519 seed, 32 bytes, more are ignored (libp2p's `privateKey.raw`). */
export function createTicketIssuer(
  rawPrivateKey: Uint8Array,
): (hostId: HostId, expiresAt: number) => Uint8Array {
  const der = Buffer.concat([pkcs8Header, rawPrivateKey.subarray(0, 32)])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  return (hostId, expiresAt) => issueTicket(key, hostId, expiresAt)
}

/** A ticket that admits `hostId` until `expiresAt`, ms since 1970. */
export function issueTicket(key: KeyObject, hostId: HostId, expiresAt: number): Uint8Array {
  const ticket = new Uint8Array(TICKET_BYTES)
  ticket[0] = TICKET_VERSION
  new DataView(ticket.buffer).setBigUint64(1, BigInt(Math.trunc(expiresAt)))
  ticket.set(sign(null, signedText(hostId, expiresAt), key), 9)
  return ticket
}

/** When a ticket ends, ms since 1970, whether or not it is a good one; undefined if it has no such shape. */
export function ticketExpiry(ticket: Uint8Array): number | undefined {
  if (ticket.byteLength !== TICKET_BYTES || ticket[0] !== TICKET_VERSION) return undefined
  return Number(new DataView(ticket.buffer, ticket.byteOffset).getBigUint64(1))
}

/** Which of the supernodes' keys signed that `hostId` is admitted until the ticket's end; undefined: none. Says nothing of whether it has ended. */
export function signerOf(
  keys: readonly KeyObject[],
  hostId: HostId,
  ticket: Uint8Array,
): KeyObject | undefined {
  const expiresAt = ticketExpiry(ticket)
  if (expiresAt === undefined) return undefined
  const signature = ticket.subarray(9)
  return keys.find(key => verify(null, signedText(hostId, expiresAt), key, signature))
}

/** `raw` is an Ed25519 public key, 32 bytes: libp2p's `peerId.publicKey.raw` of the supernode. */
export function ticketKey(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([spkiHeader, raw]), format: 'der', type: 'spki' })
}

function signedText(hostId: HostId, expiresAt: number): Buffer {
  return Buffer.from(`${TICKET_CONTEXT}\n${hostId}\n${Math.trunc(expiresAt)}`)
}

/** A ticket that was found good, and whose clock its end is read on. */
interface Remembered {
  readonly signer: KeyObject
  readonly expiresAt: number
}

/**
 * A parent's door: admits hosts whose ticket one of the configured supernodes signed; remembers the good ones. Whether a ticket has ended is
 * judged by the clock of the supernode that signed it, as far as this host was told of it: the clocks of hosts may be hours apart.
 */
export class TicketGate {
  readonly #keys: readonly KeyObject[]
  readonly #clock: Clock
  readonly #good = new Map<string, Remembered>()
  /** By key: what to add to this host's monotonic clock to have that supernode's. */
  readonly #told = new Map<KeyObject, number>()
  #keptAheadMs = 0

  /** `supernodeKeys`: raw Ed25519 public keys, 32 bytes each. */
  constructor(components: { clock: Clock }, init: { supernodeKeys: readonly Uint8Array[] }) {
    this.#clock = components.clock
    this.#keys = init.supernodeKeys.map(ticketKey)
  }

  /** A supernode has just given this host a ticket that ends in `ticketMs`: so much for what its clock says. */
  noteWelcome(self: HostId, { ticket, ticketMs }: { ticket: Uint8Array; ticketMs: number }): void {
    const signer = signerOf(this.#keys, self, ticket)
    if (signer !== undefined)
      this.#told.set(signer, ticketExpiry(ticket)! - ticketMs - this.#clock.monotonic())
  }

  /** How far the supernodes' clock was ahead of this host's in an earlier run, in ms; counts where a supernode has not been heard of since. */
  noteKept(aheadMs: number): void {
    this.#keptAheadMs = aheadMs
  }

  admits(hostId: HostId, ticket: Uint8Array | undefined): boolean {
    if (ticket === undefined || ticket.byteLength !== TICKET_BYTES) return false
    const name = `${hostId} ${Buffer.from(ticket).toString('latin1')}`
    const found = this.#good.get(name) ?? this.#check(hostId, ticket)
    if (found === undefined || found.expiresAt + CLOCK_SKEW_MS_MAX < this.#nowOf(found.signer)) {
      this.#good.delete(name)
      return false
    }
    if (this.#good.size >= REMEMBERED_MAX) this.#good.delete(this.#good.keys().next().value!)
    this.#good.set(name, found)
    return true
  }

  #check(hostId: HostId, ticket: Uint8Array): Remembered | undefined {
    const signer = signerOf(this.#keys, hostId, ticket)
    return signer === undefined ? undefined : { signer, expiresAt: ticketExpiry(ticket)! }
  }

  /** That supernode's wall clock, ms since 1970; of one not heard of since the start the earliest guess, since a host that is kept out serves nobody. */
  #nowOf(signer: KeyObject): number {
    const told = this.#told.get(signer)
    if (told !== undefined) return told + this.#clock.monotonic()
    const own = this.#clock.now()
    const guesses = [own, own + this.#keptAheadMs]
    for (const other of this.#told.values()) guesses.push(other + this.#clock.monotonic())
    return Math.min(...guesses)
  }
}

/** How far the clock of the supernode that gave this ticket is ahead of this host's `nowMs`, in ms; 0 if the ticket does not tell. */
export function clockAheadMs(
  { ticket, ticketMs }: { ticket: Uint8Array; ticketMs: number },
  nowMs: number,
): number {
  const expiresAt = ticketExpiry(ticket)
  return expiresAt === undefined ? 0 : expiresAt - ticketMs - nowMs
}
