// Leaf certificates: one per host, renewed before it ends, bounded in number, none for strangers.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { makeAuthority } from '../../dfdaemon/intercept/authority/authority-certificate.ts'
import { LeafCertificates } from '../../dfdaemon/intercept/authority/leaf-certificates.ts'
import { systemClock } from '../../shared/clock.ts'

const DAY_MS = 86_400_000

async function makeLeaves(hosts: readonly string[]) {
  let now = Date.now()
  const endsMs = now + 3650 * DAY_MS
  const authority = { ...(await makeAuthority(hosts, 'here', now)), hosts, endsMs, fingerprint: '' }
  const leaves = new LeafCertificates({ authority, clock: { ...systemClock, now: () => now } })
  return {
    leaves,
    passDays: (days: number) => {
      now += days * DAY_MS
    },
    now: () => now,
  }
}

test('a host keeps its certificate, and callers at the same time get the same', async () => {
  const { leaves } = await makeLeaves(['reg.lab'])
  const [first, second] = await Promise.all([leaves.get('reg.lab'), leaves.get('reg.lab')])
  assert.equal(first, second)
  assert.equal(await leaves.get('reg.lab'), first)
})

test('it is renewed long before it ends, for years', async () => {
  const { leaves, passDays, now } = await makeLeaves(['reg.lab'])
  const seen = new Set<string>()
  for (let day = 0; day < 60; day++) {
    const { certificate } = await leaves.get('reg.lab')
    const { validFrom, validTo } = new X509Certificate(certificate)
    assert.ok(Date.parse(validFrom) < now() && Date.parse(validTo) - now() > 6 * DAY_MS, `day ${day}`)
    seen.add(certificate)
    passDays(1)
  }
  assert.ok(seen.size > 5 && seen.size < 15, `${seen.size} certificates in 60 days`)
})

test('no more are kept than the bound', async () => {
  const { leaves } = await makeLeaves(['lab'])
  for (let host = 0; host < 300; host++) await leaves.get(`h${host}.lab`)
  assert.equal(leaves.size, 256)
})

test('strangers get none, and nobody once the authority has ended', async () => {
  const { leaves, passDays } = await makeLeaves(['reg.lab'])
  await assert.rejects(leaves.get('bank.example'), { code: 'UPSTREAM_FORBIDDEN' })
  assert.equal(leaves.vouchesFor('reg.lab'), true)
  passDays(3651)
  assert.equal(leaves.vouchesFor('reg.lab'), false)
  await assert.rejects(leaves.get('reg.lab'), { code: 'UPSTREAM_FORBIDDEN' })
})
