// Proofs hold for one secret and one pair of hosts; tickets for one host, one supernode and their time.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generateKeyPair } from '@libp2p/crypto/keys'
import {
  CLOCK_SKEW_MS_MAX,
  checkProof,
  createTicketIssuer,
  makeProof,
  TicketGate,
} from '../../shared/protocol/admission.ts'

test('a proof holds only for its secret, supernode and host', () => {
  const proof = makeProof('s3cret', 'S', 'H')
  assert.equal(checkProof('s3cret', 'S', 'H', proof), true)
  assert.equal(checkProof('other', 'S', 'H', proof), false)
  assert.equal(checkProof('s3cret', 'T', 'H', proof), false)
  assert.equal(checkProof('s3cret', 'S', 'G', proof), false)
  assert.equal(checkProof('s3cret', 'S', 'H', proof.subarray(1)), false)
  assert.equal(checkProof('s3cret', 'S', 'H', undefined), false)
})

test('a ticket admits its host until it ends, and is worth nothing changed', async () => {
  const key = await generateKeyPair('Ed25519')
  const stranger = await generateKeyPair('Ed25519')
  let now = 1_000_000
  const clock = { now: () => now, monotonic: () => now, after: () => ({ cancel() {} }) }
  const gate = new TicketGate({ clock }, { supernodeKeys: [key.publicKey.raw] })
  const ticket = createTicketIssuer(key.raw)('H', now + 1000)
  assert.equal(gate.admits('H', ticket), true)
  assert.equal(gate.admits('H', ticket), true)
  assert.equal(gate.admits('G', ticket), false)
  assert.equal(gate.admits('H', undefined), false)
  assert.equal(gate.admits('H', ticket.subarray(1)), false)
  assert.equal(gate.admits('H', createTicketIssuer(stranger.raw)('H', now + 1000)), false)
  for (const at of [0, 5, 8, 20, 72]) {
    const changed = Uint8Array.from(ticket)
    changed[at]! ^= 1
    assert.equal(gate.admits('H', changed), false)
  }
  now += 1000 + CLOCK_SKEW_MS_MAX
  assert.equal(gate.admits('H', ticket), true)
  now += 1
  assert.equal(gate.admits('H', ticket), false)
})
