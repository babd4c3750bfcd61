// Finds the limits that the code sets itself: constants named …_MAX, …_MIN or …_MS, with their value, place and the comment above them.
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

export interface Limit {
  readonly name: string
  /** As people read it: `64 MiB`, `10 s`, or the expression where it depends on another limit. */
  readonly value: string
  /** Path from the root. */
  readonly file: string
  readonly meaning: string
}

const limitLine = /^(?:export )?const ([A-Z][A-Z0-9_]*_(?:MAX|MIN|MS)(?:_MAX|_MIN)?)\b[^=]*= ([^{].*)$/

/** Limits in all files below `folder`, in order of file and line. */
export function listLimits(root: string, folder: string): Limit[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.ts'))
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
    .flatMap(file => findLimits(relative(root, file).replaceAll('\\', '/'), readFileSync(file, 'utf8')))
}

function findLimits(file: string, text: string): Limit[] {
  const lines = text.split('\n')
  return lines.flatMap((line, index) => {
    const [, name, expression] = limitLine.exec(line) ?? []
    if (name === undefined || expression === undefined) return []
    return [{ name, value: showValue(name, expression), file, meaning: readComment(lines, index) }]
  })
}

/** The comment that ends on the line before, as one line. */
function readComment(lines: readonly string[], index: number): string {
  const above = lines[index - 1]?.trim() ?? ''
  const whole = /^\/\*\* (.*) \*\/$/.exec(above) ?? /^\/\/ (.*)$/.exec(above)
  if (whole !== null) return index === 1 ? '' : whole[1]!.replaceAll('|', '\\|')
  if (above !== '*/') return ''
  const start = lines.findLastIndex((line, at) => at < index && line.trim().startsWith('/**'))
  const words = lines.slice(start, index).map(line => line.trim().replace(/^\/?\*+\/?/, ''))
  return words.join(' ').replaceAll(/\s+/g, ' ').trim().replaceAll('|', '\\|')
}

function showValue(name: string, expression: string): string {
  const value = multiply(expression)
  if (value === undefined) return `\`${expression}\``
  if (name.includes('BYTES')) return showScaled(value, ['B', 'KiB', 'MiB', 'GiB'], 1024)
  if (/_MS\b|_MS_/.test(name)) return showDuration(value)
  return String(value)
}

/** Products and sums of plain numbers; undefined for anything else. */
function multiply(expression: string): number | undefined {
  const terms = expression.split(' + ').map(term =>
    term.split(' * ').reduce((product, factor) => {
      const plain = factor === 'MiB' ? String(2 ** 20) : factor.replaceAll('_', '')
      return /^\d+(\.\d+)?$/.test(plain) ? product * Number(plain) : Number.NaN
    }, 1),
  )
  const sum = terms.reduce((total, term) => total + term, 0)
  return Number.isNaN(sum) ? undefined : sum
}

function showScaled(value: number, units: readonly string[], base: number): string {
  let scaled = value
  let step = 0
  for (; step < units.length - 1 && scaled >= base && scaled % base === 0; step++) scaled /= base
  return `${scaled} ${units[step]}`
}

function showDuration(ms: number): string {
  if (ms >= 3_600_000 && ms % 3_600_000 === 0) return `${ms / 3_600_000} h`
  if (ms >= 60_000 && ms % 60_000 === 0) return `${ms / 60_000} min`
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`
}
