// Gets Bearer tokens as the distribution project's token specification has it, anonymously or with the caller's Basic credentials, and keeps
// them in memory for as long as they hold. Keys are HMACs under a key of this process: the cache cannot be read back into credentials.
import { createHmac, randomBytes } from 'node:crypto'
import { abortable } from '../abortable.ts'
import type { Clock } from '../clock.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import { IDENTITY_TOKEN_USER } from './credentials/docker-config.ts'
import { discardBody, type Exchanges, readBody } from './exchange.ts'
import { failureOfStatus, SourceFailure } from './source-failure.ts'
import type { Endpoint } from './upstreams.ts'

const TOKENS_MAX = 2_000
const TOKEN_CHARS_MAX = 16 * 1024
const TOKEN_BODY_BYTES_MAX = 64 * 1024
/** Validity of a token whose server names none (the token specification's default), and the longest that is believed. */
const TOKEN_MS_DEFAULT = 60_000
const TOKEN_MS_MAX = 3_600_000
/** A token is not used in its last moments: it must hold until the request is answered. */
const TOKEN_SPARE_MS = 10_000

interface KeptToken {
  readonly header: string
  readonly until: number
}

/** Whose access to what: the endpoint, the repository and the caller's own header. */
export interface AuthScope {
  readonly endpoint: Endpoint
  /** Repository name as the endpoint knows it, with the mirror's prefix. */
  readonly repository: string
  readonly authorization: string | undefined
}

export class TokenCache {
  readonly #components: { readonly exchanges: Exchanges; readonly clock: Clock }
  readonly #key = randomBytes(32)
  readonly #tokens = new Map<string, KeptToken>()
  readonly #fetching = new Map<string, Promise<string>>()

  constructor(components: { readonly exchanges: Exchanges; readonly clock: Clock }) {
    this.#components = components
  }

  /** The header to begin with: a token that still holds, else the caller's own header. */
  headerFor(scope: AuthScope): string | undefined {
    const key = this.#keyOf(scope)
    const kept = this.#tokens.get(key)
    if (kept === undefined) return firstHeader(scope)
    if (kept.until <= this.#components.clock.monotonic()) {
      this.#tokens.delete(key)
      return firstHeader(scope)
    }
    this.#tokens.delete(key)
    this.#tokens.set(key, kept)
    return kept.header
  }

  /**
   * A new header after a 401, or undefined if nothing else can be tried: a caller's own Bearer token is never replaced.
   * Callers that ask for the same at once share one request to the token server.
   * @throws SourceFailure if the token server fails, or the signal's reason
   */
  async renew(
    scope: AuthScope,
    refused: string | undefined,
    challengeHeader: string,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { authorization } = scope
    if (authorization !== undefined && !/^basic /i.test(authorization)) return undefined
    const key = this.#keyOf(scope)
    const kept = this.#tokens.get(key)
    // Another request may have renewed it meanwhile.
    if (kept !== undefined && kept.header !== refused) return kept.header
    this.#tokens.delete(key)
    const realm = chooseRealm(parseChallenges(challengeHeader), scope)
    if (realm === undefined) return undefined
    let fetching = this.#fetching.get(key)
    if (fetching === undefined) {
      fetching = this.#fetchToken(key, realm, scope).finally(() => this.#fetching.delete(key))
      fetching.catch(() => {})
      this.#fetching.set(key, fetching)
    }
    return abortable(fetching, signal)
  }

  async #fetchToken(key: string, realm: URL, scope: AuthScope): Promise<string> {
    const { clock, exchanges } = this.#components
    const signal = AbortSignal.timeout(30_000)
    const headers = { accept: 'application/json', 'accept-encoding': 'identity' }
    const askedAt = clock.monotonic()
    const identity = identityTokenOf(scope.authorization)
    const sending =
      identity === undefined
        ? exchanges.send(scope.endpoint, 'GET', realm, headers, scope.authorization, signal)
        : exchanges.post(scope.endpoint, realm, headers, formOf(realm, identity), signal)
    const exchange = await sending.catch(error => {
      if (signal.aborted) throw new SourceFailure('SOURCE_STALLED', { detail: 'the token server stalled' })
      throw error
    })
    if (exchange.status !== 200) {
      discardBody(exchange.body)
      throw failureOfStatus(exchange.status, exchange.asked, 'other', {})
    }
    const body = await readBody(exchange, TOKEN_BODY_BYTES_MAX, signal)
    const answer = readTokenAnswer(body)
    if (answer === undefined)
      throw new SourceFailure('SOURCE_STATUS', { detail: `${exchange.asked} sent no token`, status: 502 })
    const header = `Bearer ${answer.token}`
    const until = askedAt + answer.validMs - TOKEN_SPARE_MS
    if (this.#tokens.size >= TOKENS_MAX) this.#tokens.delete(this.#tokens.keys().next().value!)
    this.#tokens.set(key, { header, until })
    return header
  }

  #keyOf(scope: AuthScope): string {
    const { endpoint, repository, authorization } = scope
    const parts = JSON.stringify([endpoint.origin, repository, authorization ?? null])
    return createHmac('sha256', this.#key).update(parts).digest('base64')
  }
}

/** An identity token is for the token server alone. */
function firstHeader({ authorization }: AuthScope): string | undefined {
  return identityTokenOf(authorization) === undefined ? authorization : undefined
}

/** The identity token in Basic credentials whose user name says that it is one. */
function identityTokenOf(authorization: string | undefined): string | undefined {
  if (authorization === undefined || !/^basic /i.test(authorization)) return undefined
  const plain = Buffer.from(authorization.slice('basic '.length), 'base64').toString('utf8')
  const user = `${IDENTITY_TOKEN_USER}:`
  return plain.startsWith(user) && plain.length > user.length ? plain.slice(user.length) : undefined
}

/** What the realm is asked by GET, as the form of OAuth 2; the realm is left without it. */
function formOf(realm: URL, identityToken: string): URLSearchParams {
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    client_id: 'pantala',
    refresh_token: identityToken,
  })
  for (const name of ['service', 'scope']) {
    const value = realm.searchParams.get(name)
    if (value !== null) form.set(name, value)
    realm.searchParams.delete(name)
  }
  return form
}

/** The token server's URL with what it is to be asked; undefined if no challenge names a usable one. */
function chooseRealm(challenges: readonly Challenge[], scope: AuthScope): URL | undefined {
  const bearer = challenges.find(challenge => challenge.scheme === 'bearer')
  const text = bearer?.params.get('realm')
  if (bearer === undefined || text === undefined || !URL.canParse(text)) return undefined
  const realm = new URL(text)
  if (realm.protocol !== 'https:' && !(realm.protocol === 'http:' && scope.endpoint.insecure))
    return undefined
  realm.username = ''
  realm.password = ''
  realm.hash = ''
  const service = bearer.params.get('service')
  if (service !== undefined) realm.searchParams.set('service', service)
  // Never more than reading this repository, whatever the challenge asks for; some ask for one fixed word, in place of a repository.
  const asked = bearer.params.get('scope') ?? ''
  if (/^[a-z0-9_-]{1,64}$/i.test(asked)) realm.searchParams.set('scope', asked)
  else if (scope.repository !== '') realm.searchParams.set('scope', `repository:${scope.repository}:pull`)
  return realm
}

function readTokenAnswer(body: Uint8Array): { token: string; validMs: number } | undefined {
  try {
    const answer: unknown = JSON.parse(Buffer.from(body).toString('utf8'))
    if (typeof answer !== 'object' || answer === null) return undefined
    const { token, access_token, expires_in } = answer as Record<string, unknown>
    const text = typeof token === 'string' && token !== '' ? token : access_token
    if (typeof text !== 'string' || text.length > TOKEN_CHARS_MAX || !/^[\x21-\x7e]+$/.test(text))
      return undefined
    const validMs = typeof expires_in === 'number' && expires_in > 0 ? expires_in * 1000 : TOKEN_MS_DEFAULT
    return { token: text, validMs: Math.min(validMs, TOKEN_MS_MAX) }
  } catch {
    return undefined
  }
}
