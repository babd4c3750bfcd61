// Remembers what tags pointed to, for each caller apart; only what anyone may see goes to disk.
import { createHash } from 'node:crypto'
import { ByteLru } from '../../shared/byte-lru.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Digest } from '../../shared/digest.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'
import type { ScopeKey } from './access-memory.ts'
import type { ManifestStore, StoredTag } from './manifest-store.ts'

const TAGS_MAX = 20_000

/** Where a tag is remembered: `name` for everyone and for the disk, `key` for one caller. */
export interface TagPlace {
  readonly key: string
  readonly name: string
  readonly anonymous: boolean
}

export class TagMemory {
  readonly #clock: Clock
  readonly #store: ManifestStore
  readonly #tagFreshMs: number
  readonly #tags = new ByteLru<string, StoredTag>({ bytesMax: TAGS_MAX, entriesMax: TAGS_MAX })
  /** The newest digest that any caller was given for a name. */
  readonly #hints = new ByteLru<string, Digest>({ bytesMax: TAGS_MAX, entriesMax: TAGS_MAX })

  constructor(
    components: { readonly clock: Clock; readonly store: ManifestStore },
    init: { readonly tagFreshMs: number },
  ) {
    this.#clock = components.clock
    this.#store = components.store
    this.#tagFreshMs = init.tagFreshMs
  }

  placeOf(source: SourceRef, scope: ScopeKey, tag: string, accepted: readonly string[]): TagPlace {
    const parts = JSON.stringify([canonicalRegistry(source.registry), source.repository, tag, accepted])
    // Hashed for one short form whatever the caller sent.
    const name = createHash('sha256').update(parts).digest('base64url')
    const anonymous = source.authorization === undefined
    return { name, key: anonymous ? name : `${name} ${scope}`, anonymous }
  }

  /** Takes in what the disk kept. */
  restore(name: string, tag: StoredTag): void {
    this.#tags.set(name, tag, 1)
    this.#hints.set(name, tag.digest, 1)
  }

  get(place: TagPlace): StoredTag | undefined {
    return this.#tags.get(place.key)
  }

  hint(place: TagPlace): Digest | undefined {
    return this.#hints.get(place.name)
  }

  /** The source said so just now. */
  set(place: TagPlace, { digest, mediaType }: { readonly digest: Digest; readonly mediaType: string }): void {
    const tag = { digest, mediaType, at: this.#clock.now() }
    this.#tags.set(place.key, tag, 1)
    this.#hints.set(place.name, digest, 1)
    if (place.anonymous) this.#store.putTag(place.name, tag)
  }

  /** The source says that there is no such tag, or not for this caller. */
  delete(place: TagPlace): void {
    this.#tags.delete(place.key)
    if (place.anonymous) this.#store.deleteTag(place.name)
  }

  isFresh(tag: StoredTag): boolean {
    const ageMs = this.#clock.now() - tag.at
    return ageMs >= 0 && ageMs < this.#tagFreshMs
  }
}
