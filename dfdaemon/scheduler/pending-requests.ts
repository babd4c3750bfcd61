// Questions to one supernode, by id, each with a deadline. It asks the source for some of them, no more than so many at a time: the others wait here.
import type { Clock } from '../../shared/clock.ts'
import { PantalaError } from '../../shared/errors.ts'
import { FairQueue } from '../../shared/fair-queue.ts'
import { QUESTIONS_PER_HOST_MAX } from '../../shared/protocol/limits.ts'
import type { Registered, Relayed, SourceRef } from '../../shared/protocol/messages.ts'

/** Questions that may be unanswered at a time, and wait to be asked. */
export const REQUESTS_MAX = 4096
export const REQUESTS_WAITING_MAX = 4096
/** How long a question waits to be asked, in ms. */
export const REQUEST_WAIT_MS_MAX = 30_000

type Answer = Registered | Relayed

export interface QuestionWait {
  /** From its sending. */
  readonly timeoutMs: number
  /** For what the supernode may ask the source: the line in which its turn is waited for. Absent: it is answered at once. */
  readonly line: string | undefined
}

/** How long an answer may take, in ms: the supernode itself gives the source 30 s. */
const SOURCE_ANSWER_MS = 35_000
const REGISTER_ANSWER_MS = 10_000

/** Wait for what the source may have to be asked: small blobs, too, come whole with the answer. Repositories take turns. */
export function sourceWait({ registry, repository }: SourceRef): QuestionWait {
  return { timeoutMs: SOURCE_ANSWER_MS, line: `${registry}/${repository}` }
}

/** Wait for what the supernode knows itself. */
export const REGISTER_WAIT: QuestionWait = { timeoutMs: REGISTER_ANSWER_MS, line: undefined }

interface Pending {
  resolve(answer: Answer): void
  reject(error: Error): void
}

export class PendingRequests {
  readonly #clock: Clock
  readonly #pending = new Map<number, Pending>()
  readonly #queue: FairQueue
  /** Questions under way that the supernode counts. */
  #counted = 0
  #isPassing = false
  #nextId = 1

  constructor(components: { clock: Clock }) {
    this.#clock = components.clock
    this.#queue = new FairQueue(components, {
      waitingMax: REQUESTS_WAITING_MAX,
      waitMsMax: REQUEST_WAIT_MS_MAX,
      what: 'the supernode',
    })
  }

  /** Sends a question, when its turn has come, and waits. @throws PantalaError SUPERNODE_AWAY past the deadline, OVERLOADED, or the signal's reason */
  ask(send: (id: number) => boolean, wait: QuestionWait, signal: AbortSignal): Promise<Answer> {
    const ask = (): Promise<Answer> => this.#ask(send, wait, signal)
    const { line } = wait
    if (line === undefined || (this.#queue.waiting === 0 && this.#hasRoom())) return ask()
    return this.#queue.wait(line, ask, signal)
  }

  resolve(answer: Answer): void {
    this.#pending.get(answer.id)?.resolve(answer)
  }

  reject(id: number, error: Error): void {
    this.#pending.get(id)?.reject(error)
  }

  rejectAll(error: Error): void {
    this.#queue.rejectAll(error)
    for (const pending of [...this.#pending.values()]) pending.reject(error)
  }

  #hasRoom(): boolean {
    return this.#counted < QUESTIONS_PER_HOST_MAX
  }

  #ask(
    send: (id: number) => boolean,
    { timeoutMs, line }: QuestionWait,
    signal: AbortSignal,
  ): Promise<Answer> {
    if (this.#pending.size >= REQUESTS_MAX) return Promise.reject(new PantalaError('OVERLOADED'))
    const id = this.#nextId
    this.#nextId = this.#nextId === 0xffff_ffff ? 1 : this.#nextId + 1
    const isCounted = line !== undefined
    if (isCounted) this.#counted++
    return new Promise((resolve, reject) => {
      const settle = (then: () => void) => {
        this.#pending.delete(id)
        timer.cancel()
        signal.removeEventListener('abort', onAbort)
        then()
        if (isCounted) this.#passOn()
      }
      // The supernode does not hear of it, and counts the question until it has answered.
      const onAbort = () => (isCounted ? reject(signal.reason) : settle(() => reject(signal.reason)))
      const timer = this.#clock.after(timeoutMs, () =>
        settle(() => reject(new PantalaError('SUPERNODE_AWAY', { detail: `no answer in ${timeoutMs} ms` }))),
      )
      this.#pending.set(id, {
        resolve: answer => settle(() => resolve(answer)),
        reject: error => settle(() => reject(error)),
      })
      signal.addEventListener('abort', onAbort, { once: true })
      if (!send(id)) settle(() => reject(new PantalaError('SUPERNODE_AWAY')))
    })
  }

  /** The place of one that was answered goes to the next. */
  #passOn(): void {
    this.#counted--
    if (this.#isPassing) return
    this.#isPassing = true
    while (this.#hasRoom() && this.#queue.next());
    this.#isPassing = false
  }
}
