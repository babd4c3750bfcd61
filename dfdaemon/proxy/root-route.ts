// Answers GET /v2/: the upstream's own challenge where it has one, since docker and podman learn there, and only there, that they must log in.
import type { Clock } from '../../shared/clock.ts'
import { isPantalaError, PantalaError } from '../../shared/errors.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { ForwardAnswer } from '../../shared/source/source-client.ts'
import type { ProxyComponents, ProxyExchange } from './proxy-context.ts'

/** How long a registry's challenge is remembered, in ms; briefly where the registry was away, since it may be back. */
const REMEMBERED_MS = 60_000
const REMEMBERED_AWAY_MS = 5_000

/** How long is waited for the registry, in ms; docker itself gives up on a mirror after 15 s. */
const PATIENCE_MS = 2_000

/** Registries whose challenge is remembered. */
const REGISTRIES_MAX = 256

/** What a registry says at its root: it refuses the caller, it does not, or nothing. */
type RootAnswer = { readonly status: 401 | 403; readonly challenge: string | undefined } | 'open' | 'away'

const refusals = {
  401: { code: 'UNAUTHORIZED', message: 'authentication required' },
  403: { code: 'DENIED', message: 'the registry refuses these credentials' },
} as const

interface Remembered {
  readonly answer: Promise<RootAnswer>
  /** Infinite until the answer is there. */
  untilMs: number
}

export class RootRoute {
  readonly #registry: ProxyComponents['registry']
  readonly #clock: Clock
  readonly #answers = new Map<string, Remembered>()

  constructor(components: { registry: ProxyComponents['registry']; clock: Clock }) {
    this.#registry = components.registry
    this.#clock = components.clock
  }

  /**
   * The registry's own refusal with its challenge where it has one, 200 otherwise; also 200 while it is away, so that what is cached can be pulled.
   * A caller's credential is tried at the registry each time: this is how `docker login` finds out that it is wrong.
   */
  async serve(exchange: ProxyExchange): Promise<boolean> {
    const { response, source, method } = exchange
    const answer = await (source.authorization === undefined ? this.#recall(source) : this.#ask(source))
    const isRefused = typeof answer === 'object'
    const body = isRefused ? JSON.stringify({ errors: [refusals[answer.status]] }) : '{}'
    response.writeHead(isRefused ? answer.status : 200, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(body),
      ...(isRefused && answer.challenge !== undefined ? { 'www-authenticate': answer.challenge } : {}),
    })
    response.end(method === 'HEAD' ? undefined : body)
    return true
  }

  /** What the registry says to callers without a credential; all who ask at once wait for one question, which no caller's leaving takes back. */
  #recall(source: SourceRef): Promise<RootAnswer> {
    const { registry } = source
    const known = this.#answers.get(registry)
    if (known !== undefined && known.untilMs > this.#clock.monotonic()) return known.answer
    const asked: Remembered = { answer: this.#ask(source), untilMs: Number.POSITIVE_INFINITY }
    void asked.answer.then(answer => {
      asked.untilMs = this.#clock.monotonic() + (answer === 'away' ? REMEMBERED_AWAY_MS : REMEMBERED_MS)
    })
    if (this.#answers.size >= REGISTRIES_MAX) this.#answers.delete(this.#answers.keys().next().value!)
    this.#answers.set(registry, asked)
    return asked.answer
  }

  /** Never rejects; settles within PATIENCE_MS. */
  #ask(source: SourceRef): Promise<RootAnswer> {
    const patience = new AbortController()
    return new Promise(resolve => {
      const timer = this.#clock.after(PATIENCE_MS, () => {
        patience.abort(new PantalaError('DEADLINE_PASSED', { detail: `no answer within ${PATIENCE_MS} ms` }))
        resolve('away')
      })
      this.#registry
        .forward(source, 'GET', '/v2/', {}, patience.signal)
        .then(readRootAnswer, readRootFailure)
        .then(answer => {
          timer.cancel()
          resolve(answer)
        })
    })
  }
}

function readRootAnswer({ status, headers, body }: ForwardAnswer): RootAnswer {
  body.destroy()
  const challenge = headers['www-authenticate']
  if (status === 401 || status === 403) return { status, challenge }
  return status >= 500 ? 'away' : 'open'
}

/** Where mirrors are asked too, a refusal comes as an error. */
function readRootFailure(error: unknown): RootAnswer {
  if (isPantalaError(error, 'SOURCE_DENIED')) return { status: 403, challenge: undefined }
  if (!isPantalaError(error, 'SOURCE_UNAUTHORIZED')) return 'away'
  return { status: 401, challenge: error.challenge }
}
