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
/** How far two machines' wall clocks may differ, in ms. */
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

/** True if one of the supernodes' keys signed that `hostId` is admitted and the ticket has not ended. */
export function verifyTicket(
  keys: readonly KeyObject[],
  hostId: HostId,
  ticket: Uint8Array,
  nowMs: number,
): boolean {
  const expiresAt = ticketExpiry(ticket)
  if (expiresAt === undefined || expiresAt + CLOCK_SKEW_MS_MAX < nowMs) return false
  const signature = ticket.subarray(9)
  return keys.some(key => verify(null, signedText(hostId, expiresAt), key, signature))
}

/** `raw` is an Ed25519 public key, 32 bytes: libp2p's `peerId.publicKey.raw` of the supernode. */
export function ticketKey(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([spkiHeader, raw]), format: 'der', type: 'spki' })
}

function signedText(hostId: HostId, expiresAt: number): Buffer {
  return Buffer.from(`${TICKET_CONTEXT}\n${hostId}\n${Math.trunc(expiresAt)}`)
}

/** A parent's door: admits hosts whose ticket one of the configured supernodes signed; remembers the good ones. */
export class TicketGate {
  readonly #keys: readonly KeyObject[]
  readonly #clock: Clock
  readonly #good = new Map<string, number>()

  /** `supernodeKeys`: raw Ed25519 public keys, 32 bytes each. */
  constructor(components: { clock: Clock }, init: { supernodeKeys: readonly Uint8Array[] }) {
    this.#clock = components.clock
    this.#keys = init.supernodeKeys.map(ticketKey)
  }

  admits(hostId: HostId, ticket: Uint8Array | undefined): boolean {
    if (ticket === undefined || ticket.byteLength !== TICKET_BYTES) return false
    const now = this.#clock.now()
    const name = `${hostId} ${Buffer.from(ticket).toString('latin1')}`
    const until = this.#good.get(name)
    if (until !== undefined && now <= until) return true
    if (!verifyTicket(this.#keys, hostId, ticket, now)) {
      this.#good.delete(name)
      return false
    }
    if (this.#good.size >= REMEMBERED_MAX) this.#good.delete(this.#good.keys().next().value!)
    this.#good.set(name, ticketExpiry(ticket)! + CLOCK_SKEW_MS_MAX)
    return true
  }
}
