// A supernode's edge and some scheduler clients over real loopback libp2p, for tests of the schedule stream.
import pino from 'pino'
import { Libp2pSchedulerClient } from '../../dfdaemon/scheduler/libp2p-client.ts'
import type { TaskListener } from '../../dfdaemon/scheduler/scheduler-client.ts'
import { systemClock } from '../../shared/clock.ts'
import { createTicketIssuer } from '../../shared/protocol/admission.ts'
import { decodeHostMessage, encodeMessage } from '../../shared/protocol/codec.ts'
import { FrameStream } from '../../shared/protocol/framing.ts'
import {
  type Candidate,
  type Holding,
  type HostId,
  type Registered,
  SCHEDULE_PROTOCOL,
} from '../../shared/protocol/messages.ts'
import type { SourceClient } from '../../shared/source/source-client.ts'
import { generateIdentity } from '../../shared/transport/identity.ts'
import { createNode } from '../../shared/transport/node.ts'
import { HostStreams } from '../../supernode/edge/host-streams.ts'
import { SourceRelay } from '../../supernode/edge/relay.ts'
import { ScheduleService } from '../../supernode/edge/rpc.ts'
import { Scheduler } from '../../supernode/scheduler.ts'
import { ClusterState } from '../../supernode/state/cluster-state.ts'

const listen = ['/ip4/127.0.0.1/tcp/0']
export const quietLogger = pino({ level: 'silent' })

export interface NetInit {
  readonly source?: SourceClient
  readonly secret?: string
  readonly expireMs?: number
  readonly tagFreshMs?: number
}

/** Starts the supernode's side; `restart` gives it up and starts anew with an empty state at the same address and identity. */
export async function startScheduleEdge(init: NetInit = {}) {
  const privateKey = await generateIdentity()
  let port = 0
  const open = async () => {
    const libp2p = await createNode({
      privateKey,
      listen: [`/ip4/127.0.0.1/tcp/${port}`],
    })
    port = Number(/tcp\/(\d+)/.exec(libp2p.getMultiaddrs()[0]!.toString())![1])
    const state = new ClusterState()
    const streams = new HostStreams()
    const expireMs = init.expireMs ?? 15_000
    const scheduler = new Scheduler(
      { state, outbox: streams, journal: { record() {} }, random: Math.random },
      { budgetRatio: 1.6, expireMs },
    )
    const relay =
      init.source === undefined
        ? undefined
        : new SourceRelay(
            { source: init.source, clock: systemClock },
            { tagFreshMs: init.tagFreshMs ?? 5000, accessFreshMs: 60_000 },
          )
    const service = new ScheduleService(
      {
        libp2p,
        scheduler,
        streams,
        relay,
        issueTicket: createTicketIssuer(privateKey.raw),
        clock: systemClock,
        logger: quietLogger,
      },
      { secret: init.secret, expireMs },
    )
    await service.start()
    return { libp2p, state, streams, scheduler, relay, service }
  }
  let now = await open()
  const close = async () => {
    await now.service.stop()
    await now.libp2p.stop()
  }
  return {
    privateKey,
    get state() {
      return now.state
    },
    get scheduler() {
      return now.scheduler
    },
    get relay() {
      return now.relay
    },
    get libp2p() {
      return now.libp2p
    },
    get address() {
      return `/ip4/127.0.0.1/tcp/${port}/p2p/${now.libp2p.peerId.toString()}`
    },
    get streams() {
      return now.streams
    },
    stop: close,
    /** After `stop`: starts anew with an empty state, at the same address and identity. */
    async start() {
      now = await open()
    },
    async restart() {
      await close()
      now = await open()
    },
  }
}

/** A supernode that welcomes everyone and then says nothing more, as one that hangs. */
export async function startHangingEdge() {
  const libp2p = await createNode({ privateKey: await generateIdentity(), listen })
  const heard: string[] = []
  await libp2p.handle(SCHEDULE_PROTOCOL, stream => {
    const frames = new FrameStream(
      stream,
      { frameBytesMax: 1024 * 1024, sendQueueBytesMax: 1024 * 1024 },
      {
        onFrame: frame => {
          const { type } = decodeHostMessage(frame)
          heard.push(type)
          if (type !== 'hello') return
          const welcome = { ticket: Uint8Array.of(1), ticketMs: 1e6, heartbeatMs: 60_000 }
          frames.send(encodeMessage({ type: 'welcome', ...welcome }))
        },
        onClose() {},
      },
    )
  })
  const id = libp2p.peerId.toString()
  return { id, heard, address: `${libp2p.getMultiaddrs()[0]!}`, stop: () => libp2p.stop() }
}

export interface TestHostInit {
  readonly seed?: boolean
  readonly secret?: string
  readonly supernodes: readonly string[]
  readonly holdings?: () => Iterable<Holding>
  readonly silentMs?: number
  /** Told to others; by itself what the node listens on. */
  readonly addresses?: () => readonly string[]
}

/** Starts a host's node and its scheduler client; does not wait for the welcome. */
export async function startTestHost(init: TestHostInit) {
  const libp2p = await createNode({ privateKey: await generateIdentity(), listen })
  const client = new Libp2pSchedulerClient(
    { libp2p, clock: systemClock, logger: quietLogger },
    {
      supernodes: init.supernodes,
      silentMs: init.silentMs,
      secret: init.secret,
      host: {
        name: 'test',
        seed: init.seed ?? false,
        uploadSlots: 16,
        version: '0',
        addresses: init.addresses ?? (() => libp2p.getMultiaddrs().map(String)),
      },
      holdings: init.holdings ?? (() => []),
      load: () => ({ slotsBusy: 0, storeBytes: 0 }),
    },
  )
  client.start()
  return {
    id: libp2p.peerId.toString() as HostId,
    client,
    libp2p,
    async stop() {
      await client.stop()
      await libp2p.stop()
    },
  }
}

/** A listener that keeps what it hears. */
export class HeardPushes implements TaskListener {
  readonly pieces: number[] = []
  readonly parents: Candidate[] = []
  readonly dropped: HostId[] = []
  readonly errors: Error[] = []
  readonly returns: Registered[] = []
  resets = 0
  away = 0

  onHashes(pieces: readonly number[]): void {
    this.pieces.push(...pieces)
  }
  onParents(parents: readonly Candidate[], drop: readonly HostId[]): void {
    this.parents.push(...parents)
    this.dropped.push(...drop)
  }
  onFailed(error: Error): void {
    this.errors.push(error)
  }
  onReset(): void {
    this.resets++
  }
  onAway(): void {
    this.away++
  }
  onBack(registered: Registered): void {
    this.returns.push(registered)
  }
}

/** Waits until `check` holds. @throws Error after `timeoutMs` */
export async function until(
  check: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 10_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
