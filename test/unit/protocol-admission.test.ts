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
import { TurnedClock } from '../doubles/turned-clock.ts'

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
  const clock = new TurnedClock(1_000_000)
  const gate = new TicketGate({ clock }, { supernodeKeys: [key.publicKey.raw] })
  const ticket = createTicketIssuer(key.raw)('H', clock.ms + 1000)
  assert.equal(gate.admits('H', ticket), true)
  assert.equal(gate.admits('H', ticket), true)
  assert.equal(gate.admits('G', ticket), false)
  assert.equal(gate.admits('H', undefined), false)
  assert.equal(gate.admits('H', ticket.subarray(1)), false)
  assert.equal(gate.admits('H', createTicketIssuer(stranger.raw)('H', clock.ms + 1000)), false)
  for (const at of [0, 5, 8, 20, 72]) {
    const changed = Uint8Array.from(ticket)
    changed[at]! ^= 1
    assert.equal(gate.admits('H', changed), false)
  }
  clock.advance(1000 + CLOCK_SKEW_MS_MAX)
  assert.equal(gate.admits('H', ticket), true)
  clock.advance(1)
  assert.equal(gate.admits('H', ticket), false)
})

const HOUR_MS = 60 * 60_000

/** A gate on a host whose clock is `aheadMs` ahead of the supernode's, which shows `supernodeNow`. */
async function makeGate(aheadMs: number) {
  const key = await generateKeyPair('Ed25519')
  const issue = createTicketIssuer(key.raw)
  const time = { supernode: 1_700_000_000_000, monotonic: 5000 }
  const clock = {
    now: () => time.supernode + aheadMs,
    monotonic: () => time.monotonic,
    after: () => ({ cancel() {} }),
  }
  const pass = (ms: number) => {
    time.supernode += ms
    time.monotonic += ms
  }
  const gate = new TicketGate({ clock }, { supernodeKeys: [key.publicKey.raw] })
  const welcome = () => {
    gate.noteWelcome('self', { ticket: issue('self', time.supernode + 24 * HOUR_MS), ticketMs: 24 * HOUR_MS })
  }
  return { gate, issue, time, pass, welcome }
}

test('a host whose clock is 30 hours ahead admits those that the supernode admitted a moment ago, and not for longer than it said', async () => {
  const { gate, issue, time, pass, welcome } = await makeGate(30 * HOUR_MS)
  const ticket = issue('child', time.supernode + 24 * HOUR_MS)
  assert.equal(gate.admits('child', ticket), false)
  welcome()
  assert.equal(gate.admits('child', ticket), true)
  pass(24 * HOUR_MS + CLOCK_SKEW_MS_MAX)
  assert.equal(gate.admits('child', ticket), true)
  pass(1)
  assert.equal(gate.admits('child', ticket), false)
})

test('a host whose clock is 30 hours behind keeps nobody who was admitted until long ago', async () => {
  const { gate, issue, time, pass, welcome } = await makeGate(-30 * HOUR_MS)
  welcome()
  const ticket = issue('child', time.supernode + 24 * HOUR_MS)
  assert.equal(gate.admits('child', ticket), true)
  pass(25 * HOUR_MS)
  assert.equal(gate.admits('child', ticket), false)
})

test('what an earlier run knew of the supernode’s clock counts until one is heard of', async () => {
  const { gate, issue, time } = await makeGate(30 * HOUR_MS)
  gate.noteKept(-30 * HOUR_MS)
  assert.equal(gate.admits('child', issue('child', time.supernode + HOUR_MS)), true)
  assert.equal(gate.admits('child', issue('child', time.supernode - HOUR_MS)), false)
})

test('a welcome that no configured supernode signed tells nothing of the time', async () => {
  const { gate, issue, time } = await makeGate(30 * HOUR_MS)
  const stranger = createTicketIssuer((await generateKeyPair('Ed25519')).raw)
  gate.noteWelcome('self', { ticket: stranger('self', time.supernode), ticketMs: 0 })
  assert.equal(gate.admits('child', issue('child', time.supernode + HOUR_MS)), false)
})
