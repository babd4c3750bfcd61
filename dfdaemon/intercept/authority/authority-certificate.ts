// Makes the certificates of Pantala's own certificate authority: itself, held to the hosts it stands for, and leaves. No files, no cache.
import 'reflect-metadata'
import { KeyObject, randomBytes, webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  GeneralName,
  GeneralSubtree,
  GeneralSubtrees,
  id_ce_nameConstraints,
  NameConstraints,
} from '@peculiar/asn1-x509'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'

const DAY_MS = 86_400_000
const AUTHORITY_LIFE_MS = 3650 * DAY_MS
/** How long a leaf certificate holds from its making, in ms. */
export const LEAF_LIFE_MS = 14 * DAY_MS
/** Certificates hold from this long before their making: a clock that is slow by less takes them, too, in ms. */
const CLOCK_SKEW_MS = DAY_MS

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** A certificate and its private key, both PEM. */
export interface KeyedCertificate {
  readonly certificate: string
  readonly key: string
}

/**
 * Makes an authority that can vouch for these hosts (names with what is below them, addresses) and for nothing else: the constraint is
 * critical, so that software which does not know it refuses the authority altogether.
 * @param label tells one host's authority from another's
 */
export async function makeAuthority(
  hosts: readonly string[],
  label: string,
  nowMs: number,
): Promise<KeyedCertificate> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      name: [{ O: ['Pantala'] }, { CN: [`Pantala intercept CA ${label} ${randomBytes(4).toString('hex')}`] }],
      serialNumber: makeSerial(),
      notBefore: new Date(nowMs - CLOCK_SKEW_MS),
      notAfter: new Date(nowMs + AUTHORITY_LIFE_MS),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        new Extension(id_ce_nameConstraints, true, AsnConvert.serialize(constrainTo(hosts))),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  )
  return { certificate: `${certificate.toString('pem')}\n`, key: exportKey(keys.privateKey) }
}

/** Makes a certificate for one host, signed by the authority; it ends when the authority does, or sooner. */
export async function makeLeaf(
  authority: KeyedCertificate,
  host: string,
  nowMs: number,
): Promise<KeyedCertificate> {
  const issuer = new X509Certificate(authority.certificate)
  const signingKey = await importKey(authority.key)
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.create(
    {
      // No common name: what it says would be held against the constraints for names, also where the host is an address.
      subject: [{ O: ['Pantala intercept'] }],
      issuer: issuer.subjectName.toJSON(),
      serialNumber: makeSerial(),
      notBefore: new Date(Math.max(nowMs - CLOCK_SKEW_MS, issuer.notBefore.getTime())),
      notAfter: new Date(Math.min(nowMs + LEAF_LIFE_MS, issuer.notAfter.getTime())),
      signingAlgorithm: algorithm,
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
        new SubjectAlternativeNameExtension([
          isIP(host) === 0 ? { type: 'dns', value: host } : { type: 'ip', value: host },
        ]),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        await AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  )
  return { certificate: `${certificate.toString('pem')}\n`, key: exportKey(keys.privateKey) }
}

/** Hosts an authority's certificate can vouch for; undefined if nothing holds it to any. @throws if it is no certificate */
export function constrainedHosts(certificate: string): readonly string[] | undefined {
  const extension = new X509Certificate(certificate).getExtension(id_ce_nameConstraints)
  if (extension === null) return undefined
  const { permittedSubtrees } = AsnConvert.parse(extension.value, NameConstraints)
  return [...(permittedSubtrees ?? [])].flatMap(({ base }) => {
    const address = base.iPAddress?.replace(/\/(?:32|128)$/, '')
    const host = address ?? base.dNSName
    return host === undefined || host === NO_NAME ? [] : [host]
  })
}

/** Stands for no name at all (RFC 6761, section 6.4). */
const NO_NAME = 'pantala.invalid'

/** Kinds that are not mentioned are not constrained (RFC 5280, section 4.2.1.10), so that both are, always. */
function constrainTo(hosts: readonly string[]): NameConstraints {
  const names = hosts.filter(host => isIP(host) === 0)
  const v4 = hosts.filter(host => isIP(host) === 4)
  const v6 = hosts.filter(host => isIP(host) === 6)
  const permitted = [
    ...(names.length === 0 ? [NO_NAME] : names).map(dNSName => ({ dNSName })),
    ...v4.map(address => ({ iPAddress: `${address}/32` })),
    ...v6.map(address => ({ iPAddress: `${address}/128` })),
  ]
  const excluded = [
    ...(v4.length === 0 ? [{ iPAddress: '0.0.0.0/0' }] : []),
    ...(v6.length === 0 ? [{ iPAddress: '::/0' }] : []),
  ]
  return new NameConstraints({
    permittedSubtrees: makeSubtrees(permitted),
    ...(excluded.length === 0 ? {} : { excludedSubtrees: makeSubtrees(excluded) }),
  })
}

function makeSubtrees(names: readonly Partial<GeneralName>[]): GeneralSubtrees {
  return new GeneralSubtrees(names.map(name => new GeneralSubtree({ base: new GeneralName(name) })))
}

/** 127 random bits, positive and without leading zeros. */
function makeSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0]! & 0x3f) | 0x40
  return bytes.toString('hex')
}

function exportKey(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }) as string
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
}
