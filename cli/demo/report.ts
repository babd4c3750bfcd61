// The demo's result as one JSON object and as a table for people. Pure.
import { styleText } from 'node:util'

export interface HostResult {
  readonly host: string
  /** From the common start to the last verified digest, in ms. */
  readonly ms: number
  readonly bytesFromPeers: number
  readonly bytesFromSource: number
  /** True if every digest of the image was right. */
  readonly verified: boolean
}

export interface DemoResult {
  /** Manifests, config and layers of the platform pulled, in bytes. */
  readonly imageBytes: number
  /** Bodies of manifests and blobs that the source really sent, in bytes. */
  readonly sourceBytes: number
  readonly sourceRatio: number
  readonly hosts: readonly HostResult[]
  readonly ok: boolean
}

/** Colour or none, by what the output can show. */
export type Paint = (format: Parameters<typeof styleText>[0], text: string) => string

export const paintAlways: Paint = (format, text) => styleText(format, text, { validateStream: false })
export const paintNever: Paint = (_format, text) => text

/** Lines of the final table, and the sum of it all below. */
export function renderResult(result: DemoResult, paint: Paint): string[] {
  const head = ['host', 'time', 'from hosts', 'from source', 'digests']
  const rows = result.hosts.map(host => [
    host.host,
    formatSeconds(host.ms),
    formatBytes(host.bytesFromPeers),
    formatBytes(host.bytesFromSource),
    host.verified ? '✔ verified' : '✘ WRONG',
  ])
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map(row => row[column]!.length)))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        column === 0 || column === 4 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join('   ')
      .trimEnd()
  const body = rows.map((row, number) =>
    result.hosts[number]!.verified
      ? `  ${line(row).replace('✔ verified', paint('green', '✔ verified'))}`
      : `  ${paint('red', line(row))}`,
  )
  const table = [`  ${paint('dim', line(head))}`, ...body]
  return [...table, '', ...renderSum(result, paint)]
}

function renderSum(result: DemoResult, paint: Paint): string[] {
  const count = result.hosts.length
  const without = result.imageBytes * count
  const slowest = Math.max(0, ...result.hosts.map(host => host.ms))
  const hosts = `${count} ${count === 1 ? 'host has' : 'hosts have'}`
  return [
    `  ${paint('bold', `${hosts} the image (${formatBytes(result.imageBytes)}) after ${formatSeconds(slowest)}.`)}`,
    `  The registry sent ${formatBytes(result.sourceBytes)}: ${paint('bold', `${result.sourceRatio.toFixed(2)} × the image`)}. ` +
      `Each host pulling by itself: ${formatBytes(without)}, ${count.toFixed(2)} ×.`,
  ]
}

/** Decimal units, as registries and networks count. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(value < 99.95 ? 1 : 0)} ${units[unit]}`
}

export function formatSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}
