// Answers GET /v2/: the upstream's own challenge where it has one, since docker and podman learn there, and only there, that they must log in.
import type { Clock } from '../../shared/clock.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { ProxyComponents, ProxyExchange } from './proxy-context.ts'

/** How long a registry's challenge is remembered, and how long is waited for it, in ms. */
const REMEMBERED_MS = 60_000
const PATIENCE_MS = 2_000

/** Registries whose challenge is remembered. */
const REGISTRIES_MAX = 256

interface Remembered {
  readonly challenge: string | undefined
  readonly untilMs: number
}

export class RootRoute {
  readonly #registry: ProxyComponents['registry']
  readonly #clock: Clock
  readonly #challenges = new Map<string, Remembered>()

  constructor(components: { registry: ProxyComponents['registry']; clock: Clock }) {
    this.#registry = components.registry
    this.#clock = components.clock
  }

  /** 401 with the challenge to callers without a credential, 200 otherwise; also 200 while the upstream is away, so that what is cached can be pulled. */
  async serve(exchange: ProxyExchange): Promise<boolean> {
    const { response, source, method } = exchange
    const challenge =
      source.authorization === undefined ? await this.#challengeOf(source, exchange.signal) : undefined
    const body =
      challenge === undefined
        ? '{}'
        : JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] })
    response.writeHead(challenge === undefined ? 200 : 401, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(body),
      ...(challenge === undefined ? {} : { 'www-authenticate': challenge }),
    })
    response.end(method === 'HEAD' ? undefined : body)
    return true
  }

  async #challengeOf(source: SourceRef, signal: AbortSignal): Promise<string | undefined> {
    const { registry } = source
    const remembered = this.#challenges.get(registry)
    const nowMs = this.#clock.monotonic()
    if (remembered !== undefined && remembered.untilMs > nowMs) return remembered.challenge
    const challenge = await this.#ask(source, signal)
    if (this.#challenges.size >= REGISTRIES_MAX)
      this.#challenges.delete(this.#challenges.keys().next().value!)
    this.#challenges.set(registry, { challenge, untilMs: nowMs + REMEMBERED_MS })
    return challenge
  }

  async #ask(source: SourceRef, signal: AbortSignal): Promise<string | undefined> {
    try {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)])
      const answer = await this.#registry.forward(source, 'GET', '/v2/', {}, patience)
      answer.body.destroy()
      return answer.status === 401 ? answer.headers['www-authenticate'] : undefined
    } catch {
      signal.throwIfAborted()
      return undefined
    }
  }
}
