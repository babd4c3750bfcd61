// A listener that speaks TLS, with a certificate from files that are read again when they change.
import { readFile, stat } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Clock, Timer } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { TlsFace } from './tls-face.ts'

/** How often the files are looked at, in ms. */
const FILES_LOOK_MS = 60_000

export interface TlsPortInit {
  readonly certFile: string
  readonly keyFile: string
  readonly logger: Logger
  readonly clock: Clock
  /** More are closed at once; unbounded if absent. */
  readonly connectionsMax?: number
}

export class TlsPort {
  readonly #face: TlsFace
  readonly #init: TlsPortInit
  /** Times of change of both files, as last read. */
  #seen = ''
  #timer: Timer | undefined
  #isOpen = true

  constructor(serve: (request: IncomingMessage, response: ServerResponse) => void, init: TlsPortInit) {
    this.#init = init
    this.#face = new TlsFace({ serve, connectionsMax: init.connectionsMax })
  }

  address(): AddressInfo | string | null {
    return this.#face.address()
  }

  /** @throws PantalaError CONFIG_INVALID for files that hold no certificate and its key, or the error of listening */
  async listen(host: string, port: number): Promise<void> {
    await this.#read()
    await this.#face.listen(host, port)
    this.#lookLater()
  }

  stopListening(): void {
    this.#isOpen = false
    this.#timer?.cancel()
    this.#face.stopListening()
  }

  async close(): Promise<void> {
    this.stopListening()
    this.#face.destroy()
  }

  async #read(): Promise<void> {
    const { certFile, keyFile } = this.#init
    try {
      const seen = await this.#lookAtFiles()
      if (seen === this.#seen) return
      const [certificate, key] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')])
      this.#face.setCertificate({ certificate, key })
      this.#seen = seen
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code ?? 'cannot be read'
      throw new PantalaError('CONFIG_INVALID', {
        detail: `proxy.tls ${certFile} and ${keyFile}: ${reason === 'CONFIG_INVALID' ? 'no certificate and its key' : reason}`,
        cause: error,
      })
    }
  }

  async #lookAtFiles(): Promise<string> {
    const files = await Promise.all([stat(this.#init.certFile), stat(this.#init.keyFile)])
    return files.map(({ mtimeMs, size, ino }) => [mtimeMs, size, ino].join()).join(' ')
  }

  /** Files that are half written, or gone, leave the certificate that is there. */
  #lookLater(): void {
    this.#timer = this.#init.clock.after(FILES_LOOK_MS, () => {
      this.#read()
        .catch(error => this.#init.logger.warn({ err: error }, 'certificate not renewed'))
        .finally(() => {
          if (this.#isOpen) this.#lookLater()
        })
    })
  }
}

/** What `proxy.tls` says; undefined where plain HTTP is spoken. @throws PantalaError CONFIG_INVALID if one file is named without the other */
export function readTlsOptions(
  { certFile, keyFile }: { readonly certFile: string | undefined; readonly keyFile: string | undefined },
  components: { readonly logger: Logger; readonly clock: Clock },
): TlsPortInit | undefined {
  if (certFile === undefined && keyFile === undefined) return undefined
  if (certFile === undefined || keyFile === undefined)
    throw new PantalaError('CONFIG_INVALID', { detail: 'proxy.tls takes certFile and keyFile, or neither' })
  return { certFile, keyFile, ...components }
}
