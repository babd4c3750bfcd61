// Draws small plots as SVG text: lines or bars over a plain grid. Pure and deterministic, readable on light and on dark ground.

export interface Series {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface PlotInit {
  readonly title: string
  readonly xLabel: string
  readonly yLabel: string
  /** A horizontal line, for a goal or a bound. */
  readonly mark?: { readonly y: number; readonly label: string }
  /** Largest y; the largest value if not given. */
  readonly yMax?: number
}

export interface Bar {
  readonly label: string
  readonly value: number
}

const WIDTH = 640
const HEIGHT = 300
const LEFT = 64
const RIGHT = 16
const TOP = 34
const BOTTOM = 46
const colours = ['#2a7ab9', '#d9822b', '#3f9b4f', '#b5413e', '#7a5ea8', '#777777']

/** Lines through points, with a legend. */
export function plotLines(init: PlotInit, series: readonly Series[]): string {
  const points = series.flatMap(one => one.points)
  const xMax = niceCeil(Math.max(1e-9, ...points.map(([x]) => x)))
  const yMax = niceCeil(init.yMax ?? Math.max(1e-9, init.mark?.y ?? 0, ...points.map(([, y]) => y)))
  const x = (value: number) => LEFT + (value / xMax) * (WIDTH - LEFT - RIGHT)
  const y = (value: number) => HEIGHT - BOTTOM - (Math.min(value, yMax) / yMax) * (HEIGHT - TOP - BOTTOM)
  const lines = series.map((one, index) => {
    const path = one.points.map(([a, b]) => `${short(x(a))},${short(y(b))}`).join(' ')
    return `<polyline points="${path}" fill="none" stroke="${colours[index % colours.length]}" stroke-width="2"/>`
  })
  const legend = series.map((one, index) =>
    text(LEFT + 10, TOP + 14 + index * 15, one.name, `fill="${colours[index % colours.length]}"`),
  )
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(part =>
    text(x(part * xMax), HEIGHT - BOTTOM + 16, label(part * xMax), 'text-anchor="middle"'),
  )
  return frame(init, [...grid(y, yMax), ...ticks, ...lines, ...legend, ...mark(init, y)])
}

/** One bar for each label. */
export function plotBars(init: PlotInit, bars: readonly Bar[]): string {
  const yMax = niceCeil(init.yMax ?? Math.max(1e-9, init.mark?.y ?? 0, ...bars.map(bar => bar.value)))
  const y = (value: number) => HEIGHT - BOTTOM - (Math.min(value, yMax) / yMax) * (HEIGHT - TOP - BOTTOM)
  const step = (WIDTH - LEFT - RIGHT) / Math.max(1, bars.length)
  const drawn = bars.flatMap((bar, index) => {
    const middle = LEFT + step * (index + 0.5)
    const width = Math.min(60, step * 0.6)
    const top = y(bar.value)
    const box = `<rect x="${short(middle - width / 2)}" y="${short(top)}" width="${short(width)}" height="${short(HEIGHT - BOTTOM - top)}" fill="${colours[0]}"/>`
    return [
      box,
      text(middle, top - 4, label(bar.value), 'text-anchor="middle"'),
      text(middle, HEIGHT - BOTTOM + 16, bar.label, 'text-anchor="middle"'),
    ]
  })
  return frame(init, [...grid(y, yMax), ...drawn, ...mark(init, y)])
}

function frame(init: PlotInit, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="11" fill="#777777">`,
    text(WIDTH / 2, 18, init.title, 'text-anchor="middle" font-size="14"'),
    text(WIDTH / 2, HEIGHT - 10, init.xLabel, 'text-anchor="middle"'),
    text(14, HEIGHT / 2, init.yLabel, `text-anchor="middle" transform="rotate(-90 14 ${HEIGHT / 2})"`),
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function grid(y: (value: number) => number, yMax: number): string[] {
  return [0, 0.25, 0.5, 0.75, 1].flatMap(part => {
    const at = short(y(part * yMax))
    return [
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#999999" stroke-opacity="0.3"/>`,
      text(LEFT - 6, y(part * yMax) + 4, label(part * yMax), 'text-anchor="end"'),
    ]
  })
}

function mark(init: PlotInit, y: (value: number) => number): string[] {
  if (init.mark === undefined) return []
  const at = y(init.mark.y)
  return [
    `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${short(at)}" y2="${short(at)}" stroke="#b5413e" stroke-dasharray="5 4"/>`,
    text(WIDTH - RIGHT, at - 4, init.mark.label, 'text-anchor="end" fill="#b5413e"'),
  ]
}

function text(x: number, y: number, content: string, attributes = ''): string {
  const safe = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${short(x)}" y="${short(y)}" ${attributes}>${safe}</text>`
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function label(value: number): string {
  if (value >= 10_000) return `${short(value / 1000)}k`
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)))
}

/** The next of 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8 times a power of ten. */
function niceCeil(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10]
    .map(step => step * power)
    .find(step => step >= value * 0.999)!
}
