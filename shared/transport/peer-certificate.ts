// The self-signed certificate of libp2p's TLS: a key for one run, vouched for by the identity. Its dates end no connection, whatever the clocks.
import 'reflect-metadata'
import { KeyObject, webcrypto } from 'node:crypto'
import { publicKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { AsnConvert, OctetString } from '@peculiar/asn1-schema'
import { Extension, X509CertificateGenerator } from '@peculiar/x509'

/** The libp2p Public Key Extension, https://github.com/libp2p/specs/blob/master/tls/tls.md */
const IDENTITY_EXTENSION = '1.3.6.1.4.1.53594.1.1'
const SIGNED_PREFIX = 'libp2p-tls-handshake:'
/** What rust-libp2p writes. @libp2p/tls and go-libp2p begin an hour before their own clock, and machines whose clocks are further apart refuse them. */
const NOT_BEFORE = new Date('1975-01-01T00:00:00Z')
const NOT_AFTER = new Date('4096-01-01T00:00:00Z')
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** Certificate and key, both PEM. */
export async function makePeerCertificate(identity: PrivateKey): Promise<{ cert: string; key: string }> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const spki = KeyObject.from(keys.publicKey).export({ type: 'spki', format: 'der' })
  const signature = await identity.sign(Buffer.concat([Buffer.from(SIGNED_PREFIX), spki]))
  const octets = [publicKeyToProtobuf(identity.publicKey), signature].map(bytes =>
    Buffer.from(AsnConvert.serialize(new OctetString(Buffer.from(bytes)))),
  )
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: '01',
      notBefore: NOT_BEFORE,
      notAfter: NOT_AFTER,
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [new Extension(IDENTITY_EXTENSION, true, makeSequence(octets))],
    },
    webcrypto,
  )
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString()
  return { cert: certificate.toString('pem'), key }
}

/** DER of a SEQUENCE of what is DER already. */
function makeSequence(parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const { length } = body
  const header = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([0x30, ...header]), body])
}
