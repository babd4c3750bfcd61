// What the scheduler puts out: messages to hosts, and events that a restart must know. Contracts only.
import type { HostId, SupernodeMessage } from '../shared/protocol/messages.ts'
import type { StateEvent } from './state/events.ts'

/** Where messages to hosts go; a host that is not there any more is no error. */
export interface Outbox {
  send(host: HostId, message: SupernodeMessage): void
  /** The same message to many, encoded once. */
  broadcast(hosts: Iterable<HostId>, message: SupernodeMessage): void
  /** Ends the stream of a host that was silent too long. */
  cut(host: HostId, reason: string): void
}

/** Takes the events that a restart must know. */
export interface EventSink {
  record(event: StateEvent): void
}
