// Asks an upstream, by a handshake, whether it speaks TLS with a certificate that holds; remembers the answer for a while.

import { connect as tlsConnect } from 'node:tls'
import type { Clock } from '../../../shared/clock.ts'
import { isPantalaError, PantalaError } from '../../../shared/errors.ts'
import type { TlsOptions } from '../../../shared/source/reach/tls-trust.ts'
import { type Dialler, tlsOptionsFor } from './dialler.ts'
import { showTarget, type Target } from './host-name.ts'

/** tls: its certificate holds · untrusted: it does not · plain: it speaks something else, or TLS of a kind not spoken here · away: nobody knows. */
export type Verdict =
  | { readonly kind: 'tls' }
  | { readonly kind: 'untrusted' | 'plain'; readonly reason: string }
  | { readonly kind: 'away'; readonly error: PantalaError }

/** Connection and handshake must be done within this, in ms. */
const PROBE_MS = 5_000

/** How long an answer is remembered, in ms. */
const TLS_REMEMBERED_MS = 10 * 60_000
const OTHER_REMEMBERED_MS = 60_000
const AWAY_REMEMBERED_MS = 2_000

/** Upstreams that are remembered. */
const PROBED_MAX = 256

export interface TlsProbeComponents {
  readonly dialler: Pick<Dialler, 'dial'>
  readonly clock: Clock
  /** What its certificate is verified against. */
  trustFor(target: Target): TlsOptions
}

interface Remembered {
  readonly verdict: Promise<Verdict>
  untilMs: number
}

export class TlsProbe {
  readonly #c: TlsProbeComponents
  readonly #probeMs: number
  readonly #known = new Map<string, Remembered>()
  /** Targets that spoke TLS when last heard of: while they are away it is taken that they still do. */
  readonly #spokeTls = new Set<string>()

  constructor(components: TlsProbeComponents, init: { readonly probeMs?: number } = {}) {
    this.#c = components
    this.#probeMs = init.probeMs ?? PROBE_MS
  }

  /** All who ask at once wait for one handshake. Never rejects; settles within PROBE_MS. */
  ask(target: Target): Promise<Verdict> {
    const name = showTarget(target)
    const known = this.#known.get(name)
    if (known !== undefined && known.untilMs > this.#c.clock.monotonic()) return known.verdict
    const asked: Remembered = { verdict: this.#judge(target, name), untilMs: Number.POSITIVE_INFINITY }
    void asked.verdict.then(({ kind }) => {
      asked.untilMs = this.#c.clock.monotonic() + rememberedMs(kind)
    })
    this.#known.delete(name)
    if (this.#known.size >= PROBED_MAX) this.#known.delete(this.#known.keys().next().value!)
    this.#known.set(name, asked)
    return asked.verdict
  }

  async #judge(target: Target, name: string): Promise<Verdict> {
    const verdict = await this.#shakeHands(target).catch(
      (error: unknown): Verdict =>
        isPantalaError(error)
          ? { kind: 'away', error }
          : { kind: 'away', error: new PantalaError('SOURCE_AWAY', { detail: name, cause: error }) },
    )
    if (verdict.kind === 'away')
      return this.#spokeTls.has(name) && isGone(verdict.error) ? { kind: 'tls' } : verdict
    if (verdict.kind === 'tls') {
      if (this.#spokeTls.size >= PROBED_MAX) this.#spokeTls.clear()
      this.#spokeTls.add(name)
    } else this.#spokeTls.delete(name)
    return verdict
  }

  async #shakeHands(target: Target): Promise<Verdict> {
    const deadline = AbortSignal.timeout(this.#probeMs)
    const late = (): PantalaError =>
      new PantalaError('SOURCE_STALLED', {
        detail: `${showTarget(target)}: no handshake within ${this.#probeMs} ms`,
      })
    const socket = await this.#c.dialler.dial(target, deadline).catch(error => {
      throw deadline.aborted ? late() : error
    })
    const trust = this.#c.trustFor(target)
    return new Promise((resolve, reject) => {
      const shaking = tlsConnect({
        socket,
        ...tlsOptionsFor(target, trust),
        // The verdict on its certificate is asked for, not acted on.
        rejectUnauthorized: false,
      })
      const settle = (verdict: Verdict | undefined): void => {
        deadline.removeEventListener('abort', onLate)
        shaking.destroy()
        socket.destroy()
        if (verdict === undefined) reject(late())
        else resolve(verdict)
      }
      const onLate = (): void => settle(undefined)
      deadline.addEventListener('abort', onLate, { once: true })
      shaking.once('secureConnect', () =>
        settle(
          shaking.authorized || !trust.rejectUnauthorized
            ? { kind: 'tls' }
            : { kind: 'untrusted', reason: String(shaking.authorizationError) },
        ),
      )
      shaking.once('error', (error: NodeJS.ErrnoException) =>
        settle({ kind: 'plain', reason: error.code ?? error.message }),
      )
      shaking.on('error', () => {})
    })
  }
}

function isGone(error: PantalaError): boolean {
  return error.code === 'SOURCE_AWAY' || error.code === 'SOURCE_STALLED'
}

function rememberedMs(kind: Verdict['kind']): number {
  if (kind === 'tls') return TLS_REMEMBERED_MS
  return kind === 'away' ? AWAY_REMEMBERED_MS : OTHER_REMEMBERED_MS
}
