// The supernode's HTTP face: health, metrics, and a read-only view of hosts and tasks. Changes nothing.
import swagger from '@fastify/swagger'
import { type FastifyInstance, fastify } from 'fastify'
import type { Registry } from 'prom-client'
import type { Clock } from '../../shared/clock.ts'
import { parseAddress } from '../../shared/config/option.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import { baseUrlOf, explainListenFailure } from '../../shared/http-face.ts'
import type { HostId } from '../../shared/protocol/messages.ts'
import { version } from '../../shared/version.ts'
import type { Scheduler } from '../scheduler.ts'
import type { ClusterState } from '../state/cluster-state.ts'
import type { Host } from '../state/host.ts'
import type { Task } from '../state/task.ts'
import {
  errorSchema,
  healthSchema,
  hostsPage,
  pageQuery,
  readySchema,
  statsSchema,
  tasksPage,
} from './api-schemas.ts'
import { countOwned, ownerOf } from './ownership.ts'
import type { RelayCounts } from './relay.ts'

export interface ApiComponents {
  readonly state: ClusterState
  readonly scheduler: Scheduler
  readonly relayCounts?: RelayCounts
  readonly registry?: Registry
  readonly clock: Clock
  /** PeerIds of all supernodes of the cluster, this one first. */
  readonly supernodes: readonly HostId[]
  /** Why the supernode is not ready; empty: it is. */
  readonly notReady: () => readonly string[]
}

interface PageRequest {
  Querystring: { limit: number; after?: string }
}

export class ApiServer {
  readonly #components: ApiComponents
  readonly #address: string
  readonly #server: FastifyInstance

  constructor(components: ApiComponents, init: { address: string }) {
    this.#components = components
    this.#address = init.address
    this.#server = fastify({
      logger: false,
      bodyLimit: 64 * 1024,
      requestTimeout: 10_000,
      forceCloseConnections: true,
    })
  }

  /** Base URL; known once started. */
  get url(): string {
    return baseUrlOf(this.#server.server.address())
  }

  /** @throws PantalaError ADDRESS_IN_USE | CONFIG_INVALID */
  async start(): Promise<void> {
    const server = this.#server
    await server.register(swagger, {
      openapi: { info: { title: 'Pantala supernode', description: 'Read-only view of a cluster.', version } },
    })
    this.#answerErrors()
    server.register(async routes => this.#addRoutes(routes))
    const { host, port } = parseAddress(this.#address)!
    try {
      await server.listen({ host, port })
    } catch (error) {
      throw explainListenFailure(`api.address ${this.#address}`, error)
    }
  }

  async stop(): Promise<void> {
    await this.#server.close()
  }

  #answerErrors(): void {
    this.#server.setErrorHandler(
      (error: Error & { statusCode?: number; validation?: unknown }, _request, reply) => {
        const known = isPantalaError(error)
          ? error
          : new PantalaError(error.validation === undefined ? 'OVERLOADED' : 'MESSAGE_INVALID', {
              detail: error.validation === undefined ? 'internal error' : error.message,
            })
        const { status, message, hint } = known.entry
        return reply.code(status).send({ code: known.code, message, detail: known.detail, hint })
      },
    )
    this.#server.setNotFoundHandler((request, reply) =>
      reply.code(404).send({
        code: 'PATH_UNKNOWN',
        message: 'no such path',
        detail: `${request.method} ${request.url.slice(0, 200)}`,
        hint: 'see /api/docs',
      }),
    )
  }

  #addRoutes(routes: FastifyInstance): void {
    const { state, scheduler, relayCounts, registry, clock, notReady, supernodes } = this.#components
    const answers = (schema: object) => ({ 200: schema, '4xx': errorSchema })
    routes.get('/healthz', { schema: { response: answers(healthSchema) } }, () => ({ ok: true }))
    routes.get(
      '/readyz',
      { schema: { response: { 200: readySchema, 503: readySchema } } },
      (_request, reply) => {
        const reasons = notReady()
        return reply.code(reasons.length === 0 ? 200 : 503).send({ ready: reasons.length === 0, reasons })
      },
    )
    routes.get('/metrics', { schema: { hide: true } }, async (_request, reply) => {
      if (registry === undefined) return reply.callNotFound()
      return reply.type(registry.contentType).send(await registry.metrics())
    })
    routes.get('/api/docs', { schema: { hide: true } }, () => this.#server.swagger())
    routes.get<PageRequest>(
      '/api/v1/hosts',
      { schema: { querystring: pageQuery, response: answers(hostsPage) } },
      ({ query }) => {
        const now = clock.monotonic()
        const { rows, next } = takePage(state.hosts, query)
        return { hosts: rows.map(host => describeHost(host, now)), next }
      },
    )
    routes.get<PageRequest>(
      '/api/v1/tasks',
      { schema: { querystring: pageQuery, response: answers(tasksPage) } },
      ({ query }) => {
        const { rows, next } = takePage(state.tasks, query)
        return {
          tasks: rows.map(task => ({ ...describeTask(task), owner: ownerOf(task.digest, supernodes) })),
          next,
        }
      },
    )
    routes.get('/api/v1/stats', { schema: { response: answers(statsSchema) } }, () => ({
      hosts: state.hosts.size,
      seeds: state.seeds.size,
      tasks: state.tasks.size,
      activeTasks: state.active.size,
      ...scheduler.counts,
      supernodes: countOwned(state.active, supernodes, supernodes[0]!),
      relay: relayCounts ?? { sourceRequests: 0, hits: 0, stale: 0 },
    }))
  }
}

/** Rows after the one named, in the order in which they came to be; `next` if there are more. */
function takePage<V>(
  rows: ReadonlyMap<string, V>,
  query: { limit: number; after?: string },
): { rows: V[]; next: string | undefined } {
  const found: V[] = []
  let skipping = query.after !== undefined && rows.has(query.after)
  let last: string | undefined
  for (const [key, row] of rows) {
    if (skipping) {
      skipping = key !== query.after
      continue
    }
    if (found.length === query.limit) return { rows: found, next: last }
    found.push(row)
    last = key
  }
  return { rows: found, next: undefined }
}

function describeHost(host: Host, now: number) {
  const { id, name, zone, seed, version, uploadSlots, slotsBusy, children, storeBytes } = host
  return {
    id,
    name,
    zone,
    seed,
    version,
    addresses: host.candidate.addresses,
    uploadSlots,
    slotsBusy,
    children,
    storeBytes,
    seenMsAgo: Math.max(0, Math.round(now - host.seenAt)),
    wanting: [...host.peers.values()].filter(peer => peer.wants).length,
    held: host.full.size,
  }
}

function describeTask(task: Task) {
  const { digest, size, pieceSize, pieces, registry, repository, sourceBytes } = task
  let available = 0
  for (let piece = 0; piece < pieces; piece++) if (task.isAvailable(piece)) available++
  return {
    digest,
    size,
    pieceSize,
    pieces,
    hashed: task.hashed.count,
    available,
    registry,
    repository,
    wanting: task.wanting.size,
    full: task.full.size,
    partial: [...task.peers.values()].filter(peer => peer.have.count > 0).length,
    sourceBytes,
    grants: [...task.grants.values()].map(grant => ({ host: grant.host, pieces: grant.pieces.count })),
  }
}
