// Texts and bytes that look nearly right, from a seed that is always printed: FUZZ_SEED repeats a run, FUZZ_RUNS makes it longer.
import { randomInt } from 'node:crypto'
import type { TestContext } from 'node:test'
import fc from 'fast-check'

/** Runs the property; the seed stands in the test's output whether it fails or not. */
export function fuzz<T extends unknown[]>(
  t: TestContext,
  property: fc.IPropertyWithHooks<T>,
  runs = 1000,
): void {
  const seed = Number(process.env['FUZZ_SEED'] ?? randomInt(2 ** 31))
  t.diagnostic(`FUZZ_SEED=${seed}`)
  fc.assert(property, { seed, numRuns: Number(process.env['FUZZ_RUNS'] ?? runs) })
}

/** One change to a text: so many characters from a place (as a share of the length) become these. */
const change = (tokens: readonly string[]) =>
  fc.tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.nat({ max: 6 }),
    fc.oneof(fc.constantFrom(...tokens), fc.string({ maxLength: 8, unit: 'binary' }), fc.constant('')),
    fc.nat({ max: 3 }),
  )

/** Samples with up to 6 changes: pieces cut out, put in (of `tokens`, above all) and repeated. */
export function nearly(samples: readonly string[], tokens: readonly string[]): fc.Arbitrary<string> {
  return fc
    .tuple(fc.constantFrom(...samples), fc.array(change(tokens), { maxLength: 6 }))
    .map(([sample, changes]) =>
      changes.reduce((text, [place, length, token, times]) => {
        const at = Math.floor(place * text.length)
        return text.slice(0, at) + token.repeat(times) + text.slice(at + length)
      }, sample),
    )
}

/** Bytes with up to 6 of them changed, cut out or put in. */
export function nearlyBytes(samples: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const edit = fc.tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.nat({ max: 4 }),
    fc.uint8Array({ maxLength: 5 }),
  )
  return fc.tuple(fc.constantFrom(...samples), fc.array(edit, { maxLength: 6 })).map(([sample, edits]) =>
    edits.reduce<Uint8Array>((bytes, [place, length, put]) => {
      const at = Math.floor(place * bytes.byteLength)
      return Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + length)])
    }, sample),
  )
}
