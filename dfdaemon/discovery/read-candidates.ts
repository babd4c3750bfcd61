// Reads hosts and their addresses out of JSON that may have been tampered with. Pure.
import { type Candidate, NEIGHBOURS_MAX } from '../../shared/protocol/messages.ts'

const hostPattern = /^[1-9A-HJ-NP-Za-km-z]{20,100}$/
const addressPattern = /^\/[\x21-\x7e]{1,255}$/
const ADDRESSES_MAX = 8

/** Sound ones of up to NEIGHBOURS_MAX entries. */
export function readCandidates(value: unknown): Candidate[] {
  if (!Array.isArray(value)) return []
  const candidates: Candidate[] = []
  for (const entry of value.slice(0, NEIGHBOURS_MAX) as unknown[]) {
    if (typeof entry !== 'object' || entry === null) continue
    const { host, addresses } = entry as Record<string, unknown>
    if (typeof host !== 'string' || !hostPattern.test(host) || !Array.isArray(addresses)) continue
    const sound = addresses.filter(text => typeof text === 'string' && addressPattern.test(text))
    candidates.push({ host, addresses: sound.slice(0, ADDRESSES_MAX), seed: false })
  }
  return candidates
}
