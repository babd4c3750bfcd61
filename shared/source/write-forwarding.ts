// Sends pushes, deletions and upload sessions to the registry itself over connections of their own. Knows nothing of tokens, retries or time.

import { PantalaError } from '../errors.ts'
import type { SourceRef } from '../protocol/messages.ts'
import { explainFailure } from './exchange.ts'
import { isForwardablePath } from './forwardable-path.ts'
import { Agents, type AgentsComponents } from './reach/agents.ts'
import { concludeFailures, SourceFailure } from './source-failure.ts'
import type { WriteAnswer, WriteClient, WriteRequest } from './write-client.ts'

export interface WriteForwardingInit {
  readonly connectTimeoutMs: number
  /** An answer's body that sends nothing for this long is given up. */
  readonly stallTimeoutMs: number
}

/** See WriteClient. A crowd of pushes never keeps a pull waiting: the connections are not those of pulls. */
export class WriteForwarding implements WriteClient {
  readonly #upstreams: AgentsComponents['upstreams']
  readonly #agents: Agents
  readonly #init: WriteForwardingInit

  constructor(components: AgentsComponents, init: WriteForwardingInit) {
    this.#upstreams = components.upstreams
    // Whoever may connect here would push under this service's name.
    this.#agents = new Agents(components, { ...init, showsCertificates: false })
    this.#init = init
  }

  async write(source: SourceRef, request: WriteRequest, signal: AbortSignal): Promise<WriteAnswer> {
    const { method, path, headers, body } = request
    if (!isForwardablePath(path))
      throw new PantalaError('PATH_UNKNOWN', { detail: JSON.stringify(path.split('?', 1)[0]!.slice(0, 160)) })
    signal.throwIfAborted()
    const endpoint = this.#upstreams.endpointsOf(source.registry).findLast(each => !each.mirror)!
    const { hostname } = new URL(endpoint.origin)
    const asked = `${method} ${endpoint.origin}${path.split('?', 1)[0]}`
    const refusal = this.#upstreams.refusalOf(hostname, hostname, false)
    if (refusal !== undefined)
      throw new PantalaError('UPSTREAM_FORBIDDEN', { detail: `${asked}: ${refusal}` })
    const { agent, proxied } = this.#agents.agentFor(endpoint, new URL(endpoint.origin))
    try {
      const answer = await agent.request({
        origin: endpoint.origin,
        // As it is: a URL would be spelled anew, and upload tokens are compared byte for byte.
        path,
        method: method as 'PUT',
        headers: headers as Record<string, string | string[]>,
        // Undici takes what can be iterated; its type says streams only.
        body: (body ?? null) as unknown as null,
        signal,
        // Undici counts from the request's beginning, however long its body takes.
        headersTimeout: 0,
        bodyTimeout: this.#init.stallTimeoutMs,
      })
      answer.body.on('error', () => {})
      const { origin } = endpoint
      return { status: answer.statusCode, headers: dropUndefined(answer.headers), body: answer.body, origin }
    } catch (error) {
      if (signal.aborted) throw signal.reason
      const failure =
        error instanceof SourceFailure
          ? error
          : explainFailure(error, proxied ? `${asked} through the HTTP proxy` : asked)
      throw concludeFailures([failure], failure)
    }
  }

  /** Cuts what is open. */
  async close(): Promise<void> {
    await this.#agents.close()
  }
}

function dropUndefined(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined) kept[name.toLowerCase()] = value
  return kept
}
