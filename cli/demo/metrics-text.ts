// Reads the Prometheus text format, as far as numbers by name and label go.

/** Samples by `name` or `name{label="value",…}`, as the exposition writes them. */
export type Samples = ReadonlyMap<string, number>

/** Lines that are no samples are passed over. */
export function parseMetrics(text: string): Samples {
  const samples = new Map<string, number>()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const end = line.lastIndexOf(' ')
    const value = Number(line.slice(end + 1))
    if (end > 0 && !Number.isNaN(value)) samples.set(line.slice(0, end), value)
  }
  return samples
}

/** Sum of a metric's samples whose labels hold all of `labels`; 0 if there are none. */
export function sumMetric(
  samples: Samples,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
  let sum = 0
  for (const [key, value] of samples) {
    const brace = key.indexOf('{')
    if ((brace < 0 ? key : key.slice(0, brace)) !== name) continue
    const parts = brace < 0 ? [] : key.slice(brace + 1, -1).split(',')
    if (wanted.every(part => parts.includes(part))) sum += value
  }
  return sum
}
