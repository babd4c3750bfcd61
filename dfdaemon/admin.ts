// The admin face of a dfdaemon: health, readiness, metrics and what it is doing; on loopback unless configured otherwise.
import { type FastifyInstance, fastify } from 'fastify'
import type { Registry } from 'prom-client'
import { parseAddress } from '../shared/config/option.ts'
import { baseUrlOf, explainListenFailure, noSchemas } from '../shared/http-face.ts'

export interface AdminComponents {
  readonly registry: Registry
  /** Why the daemon is not ready; empty: it is. */
  readonly notReady: () => readonly string[]
  /** What it is doing, for people and `pantala status`. */
  readonly describe: () => Record<string, unknown>
}

export class AdminServer {
  readonly #address: string
  readonly #server: FastifyInstance

  constructor(components: AdminComponents, init: { address: string }) {
    this.#address = init.address
    this.#server = fastify({
      logger: false,
      schemaController: noSchemas,
      bodyLimit: 1024,
      requestTimeout: 10_000,
      forceCloseConnections: true,
    })
    this.#server.get('/healthz', () => ({ ok: true }))
    this.#server.get('/readyz', (_request, reply) => {
      const reasons = components.notReady()
      return reply.code(reasons.length === 0 ? 200 : 503).send({ ready: reasons.length === 0, reasons })
    })
    this.#server.get('/metrics', async (_request, reply) => {
      reply.type(components.registry.contentType)
      return components.registry.metrics()
    })
    this.#server.get('/debug/state', () => components.describe())
  }

  /** Base URL; known once started. */
  get url(): string {
    return baseUrlOf(this.#server.server.address())
  }

  /** @throws PantalaError ADDRESS_IN_USE | CONFIG_INVALID */
  async start(): Promise<void> {
    const { host, port } = parseAddress(this.#address)!
    try {
      await this.#server.listen({ host, port })
    } catch (error) {
      throw explainListenFailure(`admin.address ${this.#address}`, error)
    }
  }

  async stop(): Promise<void> {
    await this.#server.close()
  }
}
