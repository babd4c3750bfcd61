// Which layer comes after which, as manifests of a repository list them: what a runtime that was given one will ask for next.
import type { Digest } from '../../shared/digest.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { canonicalRegistry } from '../../shared/source/upstreams.ts'

/** Layers whose next one is remembered, all repositories together. */
const FOLLOWED_LAYERS_MAX = 20_000

type Place = Pick<SourceRef, 'registry' | 'repository'>

export class LayerOrder {
  /** The next layer, by registry, repository and layer; least recently noted first. */
  readonly #next = new Map<string, Digest>()

  /** A manifest of the repository lists these, in the order in which runtimes ask for them. What it says replaces what others said. */
  note(place: Place, layers: readonly Digest[]): void {
    for (const [index, layer] of layers.entries()) {
      const key = keyOf(place, layer)
      const next = layers[index + 1]
      this.#next.delete(key)
      if (next === undefined) continue
      this.#next.set(key, next)
      if (this.#next.size > FOLLOWED_LAYERS_MAX) this.#next.delete(this.#next.keys().next().value!)
    }
  }

  /** The layer after this one in the manifest noted last; undefined if there is none, or none is known. */
  nextOf(place: Place, layer: Digest): Digest | undefined {
    return this.#next.get(keyOf(place, layer))
  }
}

function keyOf({ registry, repository }: Place, layer: Digest): string {
  return `${canonicalRegistry(registry)}/${repository} ${layer}`
}
