// Shows a running demo: a picture redrawn in place on a terminal, plain lines of progress elsewhere. Draws what it is given and decides nothing.
import { formatBytes, formatSeconds, type Paint, paintAlways, paintNever } from './report.ts'

/** One host as the view shows it. */
export interface HostState {
  readonly name: string
  phase: 'waiting' | 'starting' | 'ready' | 'pulling' | 'verified' | 'failed'
  /** Bytes of the image that have reached the client so far. */
  bytes: number
  /** Pieces held, to within a piece or two. */
  pieces: number
  /** Bytes per second now. */
  downRate: number
  upRate: number
  ms: number
}

/** All that is shown. */
export interface DemoState {
  readonly hosts: readonly HostState[]
  /** What is going on, in a few words. */
  stage: string
  imageBytes: number
  imageDigests: number
  imagePieces: number
  layers: number
  sourceBytes: number
  elapsedMs: number
}

/** Where a view writes; process.stdout and process.stderr are such. */
export interface Screen {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
  write(text: string): unknown
  on?(event: 'error', listener: (error: Error) => void): unknown
}

export interface DemoView {
  /** Draws the state; may be called at any rate. */
  update(state: DemoState): void
  /** Leaves the screen to others; the last picture stays. Closing twice does no harm. */
  close(): void
}

/** In-place for a terminal, lines for a file or pipe. */
export function chooseView(screen: Screen): DemoView {
  return screen.isTTY === true && process.env['TERM'] !== 'dumb' ? new LiveView(screen) : new LineView(screen)
}

/** Colours for a terminal, unless NO_COLOR asks for none (no-color.org). */
export function choosePaint(screen: Screen): Paint {
  return screen.isTTY === true && !process.env['NO_COLOR'] ? paintAlways : paintNever
}

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const drawEveryMs = 80

class LiveView implements DemoView {
  readonly #screen: Screen
  readonly #paint: Paint
  #lines = 0
  #drawnAtMs = Number.NEGATIVE_INFINITY
  #frame = 0
  #latest: DemoState | undefined
  #closed = false

  constructor(screen: Screen) {
    this.#screen = screen
    this.#paint = choosePaint(screen)
    screen.write('\x1b[?25l')
  }

  update(state: DemoState): void {
    if (this.#closed) return
    this.#latest = state
    const now = performance.now()
    if (now - this.#drawnAtMs < drawEveryMs) return
    this.#drawnAtMs = now
    this.#draw(state)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#latest !== undefined) this.#draw(this.#latest)
    this.#screen.write('\x1b[?25h')
  }

  #draw(state: DemoState): void {
    const columns = this.#screen.columns ?? 80
    const spinner = frames[this.#frame++ % frames.length]!
    const lines = renderState(state, { columns, rows: this.#screen.rows ?? 24, spinner, paint: this.#paint })
    this.#screen.write(`${this.#home()}${lines.join('\n')}\n`)
    this.#lines = lines.length
  }

  /** To the first line of the last picture, with everything below wiped. */
  #home(): string {
    return this.#lines === 0 ? '\r\x1b[J' : `\x1b[${this.#lines}A\r\x1b[J`
  }
}

export interface Frame {
  readonly columns: number
  readonly rows: number
  readonly spinner: string
  readonly paint: Paint
}

/** The picture as lines that fit into the frame. */
export function renderState(state: DemoState, frame: Frame): string[] {
  const { paint } = frame
  const busy = state.hosts.some(host => host.phase !== 'verified' && host.phase !== 'failed')
  const mark = busy ? paint('cyan', frame.spinner) : paint('green', '✔')
  const room = Math.max(1, frame.rows - 7)
  const shown = state.hosts.length <= room ? state.hosts : state.hosts.slice(0, room - 1)
  const lines = ['', `${mark} ${paint('bold', state.stage)}`, '']
  if (state.imageBytes > 0) lines.push(renderSource(state, frame))
  lines.push(...shown.map(host => renderHost(host, state, frame)))
  if (shown.length < state.hosts.length) {
    const rest = state.hosts.slice(shown.length)
    const done = rest.filter(host => host.phase === 'verified').length
    lines.push(paint('dim', `  … and ${rest.length} more hosts, ${done} of them done`))
  }
  return lines
}

function renderSource(state: DemoState, { paint }: Frame): string {
  const ratio = (state.sourceBytes / state.imageBytes).toFixed(2)
  const sent = `sent ${formatBytes(state.sourceBytes).padStart(8)} = ${paint('bold', `${ratio} ×`)} the image`
  const image = `${formatBytes(state.imageBytes)} in ${state.layers} layers, ${state.imagePieces} pieces`
  return `  ${paint('bold', 'registry'.padEnd(9))} ${sent}  ${paint('dim', `(${image})`)}`
}

function renderHost(host: HostState, state: DemoState, frame: Frame): string {
  const { paint } = frame
  const name = paint('bold', host.name.padEnd(9))
  if (host.phase === 'waiting' || host.phase === 'starting' || host.phase === 'ready')
    return `  ${name} ${paint('dim', host.phase)}`
  const share = state.imageBytes === 0 ? 0 : Math.min(1, host.bytes / state.imageBytes)
  const percent = `${Math.floor(share * 100)} %`.padStart(5)
  const tail =
    host.phase === 'failed'
      ? paint('red', '✘ failed')
      : host.phase === 'verified'
        ? paint('green', `✔ ${state.imageDigests} digests verified in ${formatSeconds(host.ms)}`)
        : `${`${host.pieces}/${state.imagePieces}`.padStart(7)} pieces  ${paint('cyan', '↓')} ${formatRate(host.downRate)}  ${paint('magenta', '↑')} ${formatRate(host.upRate)}`
  const width = Math.max(8, Math.min(32, frame.columns - 68))
  const bar = renderBar(share, width, paint, host.phase)
  return `  ${name} ${bar} ${percent}  ${tail}`
}

function renderBar(share: number, width: number, paint: Paint, phase: HostState['phase']): string {
  const full = Math.round(share * width)
  const colour = phase === 'failed' ? 'red' : phase === 'verified' ? 'green' : 'cyan'
  return paint(colour, '━'.repeat(full)) + paint('dim', '─'.repeat(width - full))
}

function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(Math.round(bytesPerSecond))}/s`.padStart(10)
}

/** One line when the stage changes, when a host is done, and every so often how far all are. */
class LineView implements DemoView {
  readonly #screen: Screen
  readonly #told = new Set<string>()
  #stage = ''
  #toldAtMs = 0

  constructor(screen: Screen) {
    this.#screen = screen
  }

  update(state: DemoState): void {
    // A stage may count up in brackets; that alone makes no new line.
    const stage = state.stage.replace(/ \(.*\)$/, '')
    if (stage !== this.#stage) this.#screen.write(`${stage}\n`)
    this.#stage = stage
    for (const host of state.hosts) {
      if (this.#told.has(host.name) || (host.phase !== 'verified' && host.phase !== 'failed')) continue
      this.#told.add(host.name)
      const how =
        host.phase === 'verified'
          ? `${state.imageDigests} digests verified in ${formatSeconds(host.ms)}`
          : 'failed'
      this.#screen.write(`  ${host.name}: ${how}\n`)
    }
    const now = performance.now()
    const pulling = state.hosts.filter(host => host.phase === 'pulling')
    if (pulling.length === 0 || now - this.#toldAtMs < 1_000) return
    this.#toldAtMs = now
    const bytes = state.hosts.reduce((sum, host) => sum + host.bytes, 0)
    const percent = Math.floor((bytes / (state.imageBytes * state.hosts.length)) * 100)
    this.#screen.write(`  ${percent} %, the registry sent ${formatBytes(state.sourceBytes)}\n`)
  }

  close(): void {}
}
