// Whatever hosts do, no piece has two grantees, the budget holds, nobody waits for a host that has nothing, and every pull comes to an end.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Candidate, HostId, SupernodeMessage } from '../../shared/protocol/messages.ts'
import { budgetBytes, outstandingBytes } from '../../supernode/schedule/source-budget.ts'
import { ClusterScript, digest, MiB, piecesOf } from '../scripts/cluster-script.ts'

const RATIO = 1.6

/** A host that behaves: takes pieces from its parents, fetches what it is granted. */
interface SimHost {
  readonly id: HostId
  readonly have: Set<number>
  readonly grant: Set<number>
  readonly parents: Set<HostId>
  /** The only pieces it wants; undefined: all. */
  only: Set<number> | undefined
  ended: 'done' | 'failed' | undefined
  wants: boolean
}

class SimSwarm {
  readonly story: ClusterScript
  readonly hosts = new Map<HostId, SimHost>()
  readonly pieces: number
  readonly #next: () => number

  constructor(pieces: number, next: () => number) {
    this.pieces = pieces
    this.#next = next
    this.story = new ClusterScript({ pieces, random: next, budgetRatio: RATIO })
    this.story.onSend = (to, message) => this.#hear(to, message)
  }

  #hear(to: HostId, message: SupernodeMessage): void {
    const host = this.hosts.get(to)
    if (host === undefined) return
    if (message.type === 'grant') for (const piece of piecesOf(message.runs)) host.grant.add(piece)
    if (message.type === 'registered' || message.type === 'parents') this.#takeParents(host, message.parents)
    if (message.type === 'parents') for (const gone of message.drop) host.parents.delete(gone)
    if (message.type === 'task-failed') {
      host.ended = 'failed'
      host.wants = false
      host.grant.clear()
    }
  }

  #takeParents(child: SimHost, parents: readonly Candidate[]): void {
    for (const { host } of parents) {
      const { task, state } = this.story
      const parent = state.hosts.get(host)
      assert.ok(parent !== undefined, `${host} was offered but is gone`)
      assert.notEqual(host, child.id)
      const peer = task.peers.get(host)
      const holdsSome = parent.full.has(task) || (peer !== undefined && peer.have.count > 0)
      assert.ok(holdsSome || task.grants.has(host), `${host} was offered but holds and fetches nothing`)
      child.parents.add(host)
    }
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.#next() * items.length)]
  }

  get alive(): SimHost[] {
    return [...this.hosts.values()]
  }

  join(seed: boolean): void {
    const host = this.enter(seed)
    if (!seed) this.register(host.id)
  }

  /** A host that wants nothing yet. */
  enter(seed: boolean): SimHost {
    const id = `${seed ? 'seed' : 'h'}${this.hosts.size}-${this.story.events.length}`
    const slots = 1 + Math.floor(this.#next() * 4)
    const host: SimHost = {
      id,
      have: new Set(),
      grant: new Set(),
      parents: new Set(),
      only: undefined,
      ended: undefined,
      wants: false,
    }
    this.hosts.set(id, host)
    this.story.join(id, { seed, slots })
    return host
  }

  /** Half of the readers of ranges want the rest, too. */
  joinRange(partial = this.#next() < 0.5): SimHost {
    const host = this.enter(false)
    const urgent = this.#randomRun()
    if (partial) host.only = new Set(piecesOf([urgent]))
    host.wants = true
    this.story.register(host.id, { have: [], urgent: [urgent], partial })
    return host
  }

  /** A reader of a running host asks for more. */
  want(host: SimHost): void {
    const urgent = this.#randomRun()
    for (const piece of piecesOf([urgent])) host.only?.add(piece)
    this.story.want(host.id, [urgent], host.only !== undefined)
  }

  #randomRun(): { first: number; count: number } {
    const first = Math.floor(this.#next() * this.pieces)
    return { first, count: 1 + Math.floor(this.#next() * (this.pieces - first)) }
  }

  register(id: HostId): void {
    const host = this.hosts.get(id)!
    host.wants = true
    host.ended = undefined
    this.story.register(id, { have: [...host.have] })
  }

  /** One host makes one step of progress; false if it had nothing to do. */
  step(host: SimHost): boolean {
    const { story } = this
    const granted = [...host.grant].find(piece => !host.have.has(piece))
    if (granted !== undefined) {
      host.grant.delete(granted)
      host.have.add(granted)
      story.cutPieces(host.id, granted)
      this.#maybeFinish(host)
      return true
    }
    if (!host.wants) return false
    for (const id of host.parents) {
      const parent = this.hosts.get(id)
      if (parent === undefined) {
        host.parents.delete(id)
        story.complain(host.id, id, 'gone')
        return true
      }
      const piece = [...parent.have].find(
        one => !host.have.has(one) && story.task.hashed.has(one) && host.only?.has(one) !== false,
      )
      if (piece === undefined) continue
      host.have.add(piece)
      story.takePieces(host.id, id, piece)
      this.#maybeFinish(host)
      return true
    }
    return false
  }

  #maybeFinish(host: SimHost): void {
    const needed = host.only ?? new Set(Array(this.pieces).keys())
    const isFetching = [...host.grant].some(piece => !host.have.has(piece))
    if (!host.wants || isFetching || ![...needed].every(piece => host.have.has(piece))) return
    host.ended = 'done'
    host.wants = false
    host.parents.clear()
    this.story.finish(host.id, host.have.size === this.pieces ? 'done' : 'left')
  }

  die(host: SimHost): void {
    this.hosts.delete(host.id)
    this.story.die(host.id)
  }

  complain(host: SimHost): void {
    const parent = this.pick([...host.parents])
    if (parent === undefined) return
    host.parents.delete(parent)
    const fault = this.pick(['silent', 'gone', 'refused', 'protocol'] as const)!
    this.story.complain(host.id, parent, fault)
  }

  check(): void {
    this.story.checkInvariants()
    const task = this.story.state.tasks.get(digest)
    if (task === undefined) return
    const bytes = task.sourceBytes + outstandingBytes(task)
    assert.ok(
      bytes <= budgetBytes(task, RATIO) + 0.5,
      `${bytes / MiB} MiB of ${budgetBytes(task, RATIO) / MiB}`,
    )
  }

  /** No more trouble: everybody works until all have ended. */
  settle(): void {
    for (let round = 0; round < 400; round++) {
      const waiting = this.alive.filter(host => host.wants)
      if (waiting.length === 0) return
      let moved = false
      for (const host of this.alive) moved = this.step(host) || moved
      this.story.scheduler.flush(this.story.now)
      if (!moved) this.story.pass(1000)
      this.check()
    }
    const stuck = this.alive.filter(host => host.wants)
    assert.fail(
      `stuck: ${stuck.map(host => `${host.id} has ${host.have.size}/${this.pieces} parents ${[...host.parents]}`).join('; ')}`,
    )
  }
}

test('swarms under random trouble keep the invariants and come to an end', () => {
  const action = fc.constantFrom(
    'step',
    'step',
    'step',
    'step',
    'join',
    'joinRange',
    'want',
    'die',
    'dieSeed',
    'joinSeed',
    'complain',
    'pass',
    'failGrant',
    'flush',
  )
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 2 ** 31 - 2 }),
      fc.array(action, { minLength: 5, maxLength: 120 }),
      (pieces, seed, actions) => {
        let value = seed
        const next = () => {
          value = (value * 48271) % 2147483647
          return value / 2147483647
        }
        const swarm = new SimSwarm(pieces, next)
        swarm.join(true)
        swarm.join(false)
        for (const what of actions) {
          const host = swarm.pick(swarm.alive.filter(one => !one.id.startsWith('seed')))
          const seedHost = swarm.pick(swarm.alive.filter(one => one.id.startsWith('seed')))
          if (what === 'step') for (const one of swarm.alive) if (next() < 0.5) swarm.step(one)
          if (what === 'join') swarm.join(false)
          if (what === 'joinRange') swarm.joinRange()
          if (what === 'want' && host?.wants) swarm.want(host)
          if (what === 'joinSeed') swarm.join(true)
          if (what === 'die' && host !== undefined) swarm.die(host)
          if (what === 'dieSeed' && seedHost !== undefined) swarm.die(seedHost)
          if (what === 'complain' && host !== undefined) swarm.complain(host)
          if (what === 'failGrant' && seedHost !== undefined && next() < 0.3) {
            seedHost.grant.clear()
            swarm.story.failGrant(seedHost.id, 'SOURCE_AWAY')
          }
          if (what === 'pass') swarm.story.pass(Math.ceil(next() * 1500))
          if (what === 'flush') swarm.story.scheduler.flush(swarm.story.now)
          swarm.check()
        }
        swarm.settle()
        // Nobody fails without a reason: the budget was spent on what died, or the source failed everybody.
        for (const host of swarm.alive)
          if (host.ended === 'failed') {
            const code = swarm.story.heard(host.id, 'task-failed').at(-1)!.code
            assert.ok(['SOURCE_BUDGET_SPENT', 'SOURCE_AWAY'].includes(code), code)
          }
      },
    ),
    { numRuns: 300 },
  )
})

test('without trouble the source is asked for each piece once, and everybody gets all', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 16 }),
      fc.integer({ min: 1, max: 40 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 2 ** 31 - 2 }),
      (pieces, hosts, withSeed, seed) => {
        let value = seed
        const next = () => {
          value = (value * 48271) % 2147483647
          return value / 2147483647
        }
        const swarm = new SimSwarm(pieces, next)
        if (withSeed) swarm.join(true)
        for (let count = 0; count < hosts; count++) swarm.join(false)
        swarm.settle()
        assert.equal(swarm.story.scheduler.counts.sourceBytes, pieces * MiB)
        for (const host of swarm.alive)
          if (!host.id.startsWith('seed')) assert.equal(host.ended, 'done', host.id)
      },
    ),
    { numRuns: 100 },
  )
})

test('readers of ranges alone cost the source what they read, each piece once', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 16 }),
      fc.integer({ min: 1, max: 20 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 2 ** 31 - 2 }),
      (pieces, hosts, withSeed, seed) => {
        let value = seed
        const next = () => {
          value = (value * 48271) % 2147483647
          return value / 2147483647
        }
        const swarm = new SimSwarm(pieces, next)
        if (withSeed) swarm.join(true)
        const wanted = new Set<number>()
        for (let count = 0; count < hosts; count++) {
          const host = swarm.joinRange(true)
          for (const piece of host.only!) wanted.add(piece)
        }
        swarm.settle()
        assert.equal(swarm.story.scheduler.counts.sourceBytes, wanted.size * MiB)
        for (const host of swarm.alive)
          if (!host.id.startsWith('seed')) assert.equal(host.ended, 'done', host.id)
      },
    ),
    { numRuns: 100 },
  )
})
