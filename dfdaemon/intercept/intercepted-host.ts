// One intercepted host: answers TLS connections in its name; registry content comes from the desk, everything else from the host itself.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isIP, type Socket } from 'node:net'
import { PantalaError } from '../../shared/errors.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'
import type { Face } from '../proxy/proxy-context.ts'
import type { RequestDesk } from '../proxy/request-desk.ts'
import { TlsFace } from '../proxy/tls-face.ts'
import type { LeafCertificates } from './authority/leaf-certificates.ts'
import { type Forwarder, sendError } from './forwarder.ts'
import { readTarget, registryName, showTarget, type Target } from './outbound/host-name.ts'

const HTTPS_PORT = 443

export interface InterceptedHostComponents {
  readonly desk: Pick<RequestDesk, 'serve' | 'takes'>
  readonly forwarder: Pick<Forwarder, 'forward'>
  readonly leaves: Pick<LeafCertificates, 'get'>
}

export class InterceptedHost {
  readonly #c: InterceptedHostComponents
  readonly #target: Target
  readonly #face: Face
  readonly #tls: TlsFace

  constructor(components: InterceptedHostComponents, target: Target) {
    this.#c = components
    this.#target = target
    this.#face = { registry: canonicalRegistry(registryName(target, HTTPS_PORT)), isFixed: true }
    this.#tls = new TlsFace({
      ...(isIP(target.host) === 0 ? { servername: target.host } : {}),
      serve: (request, response) => this.#serve(request, response),
    })
  }

  /** Connections there are. */
  get size(): number {
    return this.#tls.size
  }

  /** Has a certificate ready. @throws PantalaError UPSTREAM_FORBIDDEN if none can be made */
  async prepare(): Promise<void> {
    this.#tls.setCertificate(await this.#c.leaves.get(this.#target.host))
  }

  /** Takes over a connection that its client begins TLS on. */
  accept(socket: Socket): void {
    this.#tls.accept(socket)
  }

  /** Cuts every connection. */
  destroy(): void {
    this.#tls.destroy()
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { host } = request.headers
    const path = request.url ?? ''
    const asked = host === undefined ? this.#target : readTarget(host, HTTPS_PORT)
    const name = showTarget(this.#target)
    if (asked === undefined || showTarget(asked) !== name) {
      sendError(
        request,
        response,
        new PantalaError('HOST_MISMATCH', { detail: `this connection is for ${name}` }),
      )
    } else if (!path.startsWith('/') && path !== '*') {
      sendError(
        request,
        response,
        new PantalaError('PROXY_REQUEST_INVALID', { detail: 'a path was expected' }),
      )
    } else if (this.#c.desk.takes(request, this.#face)) {
      void this.#c.desk.serve(request, response, this.#face)
    } else {
      const authority = host ?? registryName(this.#target, HTTPS_PORT)
      void this.#c.forwarder.forward(request, response, {
        scheme: 'https',
        target: this.#target,
        authority,
        path,
      })
    }
  }
}
