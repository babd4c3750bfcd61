// Pantala's own certificate authority: what its certificates say, that it vouches for its hosts alone, and how it is kept.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmod, chown, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { createServer, connect as tlsConnect } from 'node:tls'
import { makeAuthority, makeLeaf } from '../../dfdaemon/intercept/authority/authority-certificate.ts'
import {
  authorityPaths,
  ensureAuthority,
  readAuthority,
  vouchesFor,
  writeAuthority,
} from '../../dfdaemon/intercept/authority/authority-files.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { makeTestDirectory } from '../harness/test-directory.ts'

const DAY_MS = 86_400_000

/** What a client that trusts the authority alone finds wrong with the leaf; undefined if nothing. */
async function findFault(ca: string, leaf: { certificate: string; key: string }, name: string) {
  const server = createServer({ cert: leaf.certificate, key: leaf.key }, socket => socket.end())
  server.on('tlsClientError', () => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  try {
    return await new Promise<string | undefined>(resolve => {
      const isName = !/^[\d.]+$|:/.test(name)
      const socket = tlsConnect({ port, host: '127.0.0.1', ca, ...(isName ? { servername: name } : {}) })
      socket.once('secureConnect', () => resolve(undefined))
      socket.once('error', error => resolve(error.message))
      socket.on('close', () => socket.destroy())
    })
  } finally {
    server.close()
  }
}

test('a leaf for a host of the list is taken, by name and by address', async () => {
  const authority = await makeAuthority(['reg.lab', '127.0.0.1'], 'here', Date.now())
  for (const host of ['reg.lab', '127.0.0.1']) {
    const leaf = await makeLeaf(authority, host, Date.now())
    assert.equal(await findFault(authority.certificate, leaf, host), undefined)
  }
})

test('a leaf for any other host is refused, though the authority signed it', async () => {
  const both = await makeAuthority(['reg.lab', '127.0.0.1'], 'here', Date.now())
  const names = await makeAuthority(['reg.lab'], 'here', Date.now())
  const addresses = await makeAuthority(['10.0.0.1'], 'here', Date.now())
  for (const [authority, host] of [
    [both, 'bank.example'],
    [both, 'notreg.lab'],
    [both, '127.0.0.2'],
    [names, '127.0.0.1'],
    [names, '::1'],
    [addresses, 'reg.lab'],
  ] as const) {
    const leaf = await makeLeaf(authority, host, Date.now())
    assert.match(String(await findFault(authority.certificate, leaf, host)), /subtree violation/, host)
  }
})

test('the certificates say what runtimes look for', async () => {
  const now = Date.now()
  const authority = await makeAuthority(['reg.lab'], 'here', now)
  const leaf = await makeLeaf(authority, 'reg.lab', now)
  const [ca, cert] = [new X509Certificate(authority.certificate), new X509Certificate(leaf.certificate)]
  assert.equal(ca.ca, true)
  assert.equal(cert.ca, false)
  assert.ok(cert.verify(ca.publicKey))
  assert.equal(cert.subjectAltName, 'DNS:reg.lab')
  assert.deepEqual(cert.keyUsage, ['1.3.6.1.5.5.7.3.1'])
  assert.equal(cert.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
  assert.ok(Date.parse(cert.validFrom) <= now - DAY_MS + 1000, 'a slow clock takes it, too')
  assert.ok(Date.parse(cert.validTo) - now <= 30 * DAY_MS)
  assert.ok(Date.parse(ca.validTo) - now > 9 * 365 * DAY_MS)
  assert.match(cert.serialNumber, /^[0-9A-F]{32}$/)
  assert.notEqual(
    cert.serialNumber,
    new X509Certificate((await makeLeaf(authority, 'reg.lab', now)).certificate).serialNumber,
  )
})

test('a leaf does not outlive its authority', async () => {
  const made = Date.now() - 3649 * DAY_MS
  const authority = await makeAuthority(['reg.lab'], 'here', made)
  const leaf = new X509Certificate((await makeLeaf(authority, 'reg.lab', Date.now())).certificate)
  assert.equal(leaf.validTo, new X509Certificate(authority.certificate).validTo)
})

test('openssl, where it is installed, agrees', async t => {
  const directory = await makeTestDirectory(t, 'authority')
  const authority = await makeAuthority(['reg.lab'], 'here', Date.now())
  const files = {
    ca: join(directory, 'ca.crt'),
    good: join(directory, 'good.crt'),
    bad: join(directory, 'bad.crt'),
  }
  await writeFile(files.ca, authority.certificate)
  await writeFile(files.good, (await makeLeaf(authority, 'reg.lab', Date.now())).certificate)
  await writeFile(files.bad, (await makeLeaf(authority, 'bank.example', Date.now())).certificate)
  const verify = (file: string): string =>
    execFileSync('openssl', ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', files.ca, file], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  try {
    execFileSync('openssl', ['version'])
  } catch {
    t.skip('openssl is not installed')
    return
  }
  assert.match(verify(files.good), /OK/)
  assert.throws(() => verify(files.bad), /permitted subtree violation/)
})

test('it is made once, its key readable by the owner alone', async t => {
  const dataDir = await makeTestDirectory(t, 'authority')
  const made = await ensureAuthority(dataDir, ['reg.lab'], Date.now())
  const again = await ensureAuthority(dataDir, ['other.lab'], Date.now())
  assert.equal(again.fingerprint, made.fingerprint)
  assert.deepEqual(again.hosts, ['reg.lab'])
  const paths = authorityPaths(dataDir)
  assert.equal((await stat(paths.key)).mode & 0o777, 0o600)
  assert.equal((await stat(paths.certificate)).mode & 0o777, 0o644)
  assert.deepEqual((await readdir(paths.folder)).sort(), ['ca.crt', 'ca.key'])
  const renewed = await writeAuthority(dataDir, ['other.lab'], Date.now())
  assert.notEqual(renewed.fingerprint, made.fingerprint)
  assert.equal(vouchesFor(renewed, 'sub.other.lab'), true)
  assert.equal(vouchesFor(renewed, 'another.lab'), false)
})

test('files that cannot be used stop it with what to do', async t => {
  const dataDir = await makeTestDirectory(t, 'authority')
  const paths = authorityPaths(dataDir)
  const refuses = (part: RegExp) =>
    assert.rejects(readAuthority(dataDir), error => {
      assert.ok(isPantalaError(error, 'CONFIG_INVALID'))
      assert.match(error.message, part)
      assert.match(error.message, /pantala ca init --force/)
      return true
    })
  await writeAuthority(dataDir, ['reg.lab'], Date.now())
  await chmod(paths.key, 0o640)
  await refuses(/others may read it \(mode 640\)/)
  const stranger = await makeAuthority(['reg.lab'], 'there', Date.now())
  await rm(paths.key)
  await refuses(/ca\.key: is missing/)
  await writeFile(paths.key, stranger.key, { mode: 0o600 })
  await refuses(/another’s/)
  await writeFile(paths.certificate, 'nonsense')
  await refuses(/ca\.crt/)
})

test('a start that was cut short between its files is made good', async t => {
  const dataDir = await makeTestDirectory(t, 'authority')
  await writeAuthority(dataDir, ['reg.lab'], Date.now())
  await rm(authorityPaths(dataDir).certificate)
  assert.deepEqual((await ensureAuthority(dataDir, ['reg.lab'], Date.now())).hosts, ['reg.lab'])
})

test('what root makes belongs to whom the data directory does', {
  skip: process.getuid?.() !== 0 && 'only root can give files away',
}, async t => {
  const dataDir = await makeTestDirectory(t, 'authority')
  await chown(dataDir, 12345, 12346)
  await writeAuthority(dataDir, ['reg.lab'], Date.now())
  const paths = authorityPaths(dataDir)
  for (const file of [paths.folder, paths.key, paths.certificate]) {
    const { uid, gid } = await stat(file)
    assert.deepEqual([uid, gid], [12345, 12346], file)
  }
  assert.equal((await stat(paths.key)).mode & 0o777, 0o600)
})
