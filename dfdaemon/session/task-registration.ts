// A session's registration with the supernode: asks once, hears its pushes, knows whether anyone is there to help.
import { isPantalaError, PantalaError, toPantalaError } from '../../shared/errors.ts'
import type { Candidate, HostId, Registered } from '../../shared/protocol/messages.ts'
import type { RegisterRequest, SchedulerClient } from '../scheduler/scheduler-client.ts'

export interface RegistrationListener {
  /** The first answer, and another one each time the supernode came back. */
  onRegistered(answer: Registered): void
  onHashes(pieces: readonly number[], hashes: Uint8Array): void
  onParents(parents: readonly Candidate[], drop: readonly HostId[]): void
  /** The supernode can't help with this task now; the source can. */
  onAlone(error: Error): void
  /** The task can't be had, or its bytes were wrong. */
  onFailed(error: PantalaError): void
  onReset(): void
}

export class TaskRegistration {
  readonly #scheduler: SchedulerClient
  readonly #request: RegisterRequest
  readonly #listener: RegistrationListener
  #asked = false
  #alone = false

  constructor(
    components: { scheduler: SchedulerClient },
    init: { request: RegisterRequest; listener: RegistrationListener },
  ) {
    this.#scheduler = components.scheduler
    this.#request = init.request
    this.#listener = init.listener
  }

  /** True once registering was tried. */
  get asked(): boolean {
    return this.#asked
  }

  /** True while no supernode helps with this task. */
  get alone(): boolean {
    return this.#alone || !this.#scheduler.connected
  }

  /** Registers; a second call does nothing. @throws PantalaError of the source, passed on; the supernode being away is no error */
  async ask(signal: AbortSignal): Promise<void> {
    if (this.#asked) return
    this.#asked = true
    try {
      const answer = await this.#scheduler.register(this.#request, this.#pushes(), signal)
      this.#listener.onRegistered(answer)
    } catch (error) {
      signal.throwIfAborted()
      if (!isPantalaError(error, 'SUPERNODE_AWAY') && !isPantalaError(error, 'SUPERNODE_REFUSED')) throw error
      this.#alone = true
      this.#listener.onAlone(error)
    }
  }

  #pushes() {
    const listener = this.#listener
    return {
      onHashes: (pieces: readonly number[], hashes: Uint8Array) => listener.onHashes(pieces, hashes),
      onParents: (parents: readonly Candidate[], drop: readonly HostId[]) =>
        listener.onParents(parents, drop),
      onFailed: (error: Error) => listener.onFailed(toPantalaError(error, 'BLOB_INCOMPLETE')),
      onReset: () => listener.onReset(),
      onAway: () => listener.onAlone(new PantalaError('SUPERNODE_AWAY')),
      onBack: (answer: Registered) => {
        this.#alone = false
        listener.onRegistered(answer)
      },
    }
  }
}
