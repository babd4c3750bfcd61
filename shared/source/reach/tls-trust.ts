// What TLS to a registry is verified against and what is shown to it: read and checked at start, made into contexts when first needed.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { PantalaError } from '../../errors.ts'
import type { RegistryConfig } from '../registry-config.ts'

/** Options of a TLS connection. */
export interface TlsOptions {
  readonly secureContext: SecureContext
  readonly rejectUnauthorized: boolean
}

/** The roots that come with Node, NODE_EXTRA_CA_CERTS, and the machine's own; the latter follow SSL_CERT_FILE and SSL_CERT_DIR. */
export class TrustedRoots {
  #roots: readonly string[] | undefined

  /** PEM texts; read when first asked for and then kept. */
  get pem(): readonly string[] {
    this.#roots ??= [
      ...new Set([...getCACertificates('default'), ...getCACertificates('system')].map(pem => pem.trim())),
    ]
    return this.#roots
  }
}

/** Trust of one registry, or of all that have no settings of their own. */
export class TlsTrust {
  readonly #roots: TrustedRoots
  readonly #ca: string | undefined
  readonly #cert: string | undefined
  readonly #key: string | undefined
  readonly #skipVerify: boolean
  #own: TlsOptions | undefined
  #unnamed: TlsOptions | undefined
  #elsewhere: TlsOptions | undefined

  /** @throws PantalaError CONFIG_INVALID for files that are not there, hold something else or do not fit each other */
  constructor(roots: TrustedRoots, config: RegistryConfig) {
    this.#roots = roots
    this.#skipVerify = config.skipVerify === true
    if (config.caFile !== undefined) this.#ca = readCertificates('caFile', config.caFile)
    const { certFile, keyFile } = config
    if (certFile === undefined || keyFile === undefined) return
    this.#cert = readCertificates('certFile', certFile)
    this.#key = readPem(
      'keyFile',
      keyFile,
      text => createPrivateKey(text),
      'no private key without passphrase',
    )
    if (!new X509Certificate(this.#cert).checkPrivateKey(createPrivateKey(this.#key)))
      throw new PantalaError('CONFIG_INVALID', {
        detail: `keyFile ${keyFile} is not the key of certFile ${certFile}`,
      })
  }

  /** Towards the registry's and its mirrors' own hosts: with the client certificate, unverified where that was said. */
  get own(): TlsOptions {
    const own = this.#cert !== undefined || this.#skipVerify
    if (!own) return this.elsewhere
    this.#own ??= {
      secureContext: createSecureContext({
        ca: this.#authorities(),
        ...(this.#cert === undefined ? {} : { cert: this.#cert, key: this.#key! }),
      }),
      rejectUnauthorized: !this.#skipVerify,
    }
    return this.#own
  }

  /** As `own`, with nothing shown: for what a caller may do only under its own name. */
  get unnamed(): TlsOptions {
    if (!this.#skipVerify) return this.elsewhere
    this.#unnamed ??= {
      secureContext: createSecureContext({ ca: this.#authorities() }),
      rejectUnauthorized: false,
    }
    return this.#unnamed
  }

  /** Towards hosts that the registry sends to: token servers, object storage. Always verified, nothing shown. */
  get elsewhere(): TlsOptions {
    this.#elsewhere ??= {
      secureContext: createSecureContext({ ca: this.#authorities() }),
      rejectUnauthorized: true,
    }
    return this.#elsewhere
  }

  #authorities(): string[] {
    return this.#ca === undefined ? [...this.#roots.pem] : [...this.#roots.pem, this.#ca]
  }
}

function readCertificates(option: string, file: string): string {
  return readPem(option, file, text => new X509Certificate(text), 'no certificate')
}

/** A file that is not there or holds something else is found at start, not at the first pull. Its content is never told. */
function readPem(option: string, file: string, parse: (text: string) => unknown, otherwise: string): string {
  try {
    const text = readFileSync(file, 'utf8')
    parse(text)
    return text
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    const reason = code !== undefined && /^E[A-Z]+$/.test(code) && !code.startsWith('ERR') ? code : otherwise
    throw new PantalaError('CONFIG_INVALID', { detail: `${option} ${file}: ${reason}` })
  }
}
