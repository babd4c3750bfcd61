// A token server as the distribution project's token specification has it: signs ES256 tokens for docker-registry, gives pulls of public
// repositories to anybody and everything to the users it knows, and remembers who asked for what.
import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  randomUUID,
  sign,
  X509Certificate,
} from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { tokenIssuer } from './docker-registry.ts'

export interface TokenServerOptions {
  readonly host: string
  /** Ports of plain HTTP and of TLS; both are served. */
  readonly ports: { readonly http: number; readonly tls: number }
  /** PEM files; tokens are signed with the same key. */
  readonly certificate: string
  readonly key: string
  /** Passwords by user. */
  readonly users: Readonly<Record<string, string>>
  /** Repositories that anybody may pull begin with one of these. */
  readonly publicPrefixes: readonly string[]
}

/** One request for a token. */
export interface TokenRequest {
  readonly method: string
  /** Undefined: none was named. */
  readonly user: string | undefined
  readonly scopes: readonly string[]
  readonly granted: boolean
  readonly userAgent: string
}

interface Access {
  readonly type: string
  readonly name: string
  readonly actions: readonly string[]
}

const tokenSeconds = 300
const formCharsMax = 16_384

export class TokenServer {
  readonly #options: TokenServerOptions
  readonly #key: KeyObject
  readonly #chain: readonly string[]
  readonly #servers: readonly Server[]
  readonly log: TokenRequest[] = []

  constructor(options: TokenServerOptions) {
    this.#options = options
    const [cert, key] = [readFileSync(options.certificate), readFileSync(options.key)]
    this.#key = createPrivateKey(key)
    const leaf = new X509Certificate(cert)
    if (!leaf.publicKey.equals(createPublicKey(this.#key)))
      throw new Error('the key is not the certificate’s')
    this.#chain = [leaf.raw.toString('base64')]
    const answer = (request: IncomingMessage, response: ServerResponse) =>
      void this.#answer(request, response).catch(() => response.destroy())
    this.#servers = [createServer(answer), createTlsServer({ cert, key }, answer)]
  }

  async start(): Promise<void> {
    const { host, ports } = this.#options
    const listen = (server: Server, port: number) =>
      new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen(port, host, resolve)
      })
    await Promise.all([listen(this.#servers[0]!, ports.http), listen(this.#servers[1]!, ports.tls)])
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://token')
    const form = request.method === 'POST' ? new URLSearchParams(await readText(request)) : url.searchParams
    const scopes = form
      .getAll('scope')
      .flatMap(scope => scope.split(' '))
      .filter(scope => scope !== '')
    const { user, password } = readCredentials(request, form)
    const isKnown = user !== undefined && this.#options.users[user] === password
    const granted = user === undefined || isKnown
    const userAgent = request.headers['user-agent'] ?? ''
    this.log.push({ method: request.method ?? '', user, scopes, granted, userAgent })
    if (!granted) {
      response
        .writeHead(401, { 'content-type': 'application/json' })
        .end('{"errors":[{"code":"UNAUTHORIZED"}]}')
      return
    }
    const access = scopes.flatMap(scope => this.#grant(scope, isKnown))
    const token = this.#sign(form.get('service') ?? '', isKnown ? user : '', access)
    const refresh =
      isKnown && (form.get('offline_token') === 'true' || form.get('access_type') === 'offline')
        ? { refresh_token: Buffer.from(`${user}:${password}`).toString('base64') }
        : {}
    const answer = { token, access_token: token, expires_in: tokenSeconds, ...refresh }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  }

  #grant(scope: string, isKnown: boolean): Access[] {
    const [type = '', name = '', actions = ''] = scope.split(':')
    const isPublic = this.#options.publicPrefixes.some(prefix => name.startsWith(prefix))
    const allowed = actions.split(',').filter(action => isKnown || (isPublic && action === 'pull'))
    return allowed.length === 0 ? [] : [{ type, name, actions: allowed }]
  }

  #sign(audience: string, subject: string, access: readonly Access[]): string {
    const now = Math.floor(Date.now() / 1000)
    const claims = { iss: tokenIssuer, sub: subject, aud: audience, access, jti: randomUUID() }
    const times = { iat: now, nbf: now - 10, exp: now + tokenSeconds }
    const parts = [
      { typ: 'JWT', alg: 'ES256', x5c: this.#chain },
      { ...claims, ...times },
    ]
    const text = parts.map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
    const signature = sign('sha256', Buffer.from(text), { key: this.#key, dsaEncoding: 'ieee-p1363' })
    return `${text}.${signature.toString('base64url')}`
  }
}

function readCredentials(
  request: IncomingMessage,
  form: URLSearchParams,
): { user?: string; password?: string } {
  const basic = /^basic (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
  const encoded = basic ?? (form.get('grant_type') === 'refresh_token' ? form.get('refresh_token') : null)
  if (encoded !== null && encoded !== undefined) {
    const text = Buffer.from(encoded, 'base64').toString()
    const colon = text.indexOf(':')
    return { user: text.slice(0, colon), password: text.slice(colon + 1) }
  }
  const user = form.get('username')
  return user === null || user === '' ? {} : { user, password: form.get('password') ?? '' }
}

async function readText(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk
    if (text.length > formCharsMax) throw new Error('the form is too long')
  }
  return text
}
