// Asks hosts that others wait for, and that say nothing, for a sign of life; tells who gives none. A slow host answers, a frozen or vanished one does not.
import type { HostId } from '../shared/protocol/messages.ts'
import { GATEWAY_QUIET_MS, PROBE_AFTER_MS, PROBE_HELD_UP_MS, PROBE_MS } from './limits.ts'
import type { Outbox } from './outbox.ts'
import type { ClusterState } from './state/cluster-state.ts'
import type { Host } from './state/host.ts'

export class Probes {
  readonly #state: ClusterState
  readonly #outbox: Outbox
  /** When each was asked that has not answered, ms. */
  readonly #asked = new Map<HostId, number>()
  #lookedAt = 0

  constructor(components: { state: ClusterState; outbox: Outbox }) {
    this.#state = components.state
    this.#outbox = components.outbox
  }

  /** Somebody waits for this host. One question at a time. */
  ask(host: Host, now: number): void {
    if (this.#asked.has(host.id)) return
    this.#asked.set(host.id, now)
    this.#outbox.send(host.id, { type: 'probe' })
  }

  /** Asks those whose grants bring nothing, and who cross zones for others, if nothing was heard of them for a moment either. */
  askIdle(now: number): void {
    const { active, hosts } = this.#state
    for (const task of active) {
      for (const { host, landedAt, crossesSince } of task.gateways.values())
        if (now - Math.max(landedAt, crossesSince, host.seenAt) > GATEWAY_QUIET_MS) this.ask(host, now)
      for (const grant of task.grants.values()) {
        const host = hosts.get(grant.host)
        const heardAt = Math.max(grant.progressAt, host?.seenAt ?? now)
        if (host !== undefined && now - heardAt > PROBE_AFTER_MS) this.ask(host, now)
      }
    }
  }

  /** Hosts that were asked and said nothing in time. */
  findMute(now: number): Host[] {
    // The supernode itself was held up: what they said may not have been read yet.
    const isHeldUp = now - this.#lookedAt > PROBE_HELD_UP_MS
    this.#lookedAt = now
    const mute: Host[] = []
    for (const [id, at] of this.#asked) {
      const host = this.#state.hosts.get(id)
      if (host === undefined || host.seenAt > at) this.#asked.delete(id)
      else if (isHeldUp) this.#asked.set(id, now)
      else if (now - at > PROBE_MS) {
        this.#asked.delete(id)
        mute.push(host)
      }
    }
    return mute
  }
}
