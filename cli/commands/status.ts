// `pantala status`: hosts, tasks, piece coverage and what the source was spared, read from the supernode's API; or one host's state, from its dfdaemon.
import { type Command, InvalidArgumentError } from 'commander'
import { request } from 'undici'
import { formatBytes } from '../demo/report.ts'
import { onStopSignal } from './stop-signal.ts'

interface StatusFlags {
  readonly supernode?: string
  readonly dfdaemon?: string
  readonly watch?: true
  readonly json?: true
}

interface HostRow {
  readonly id: string
  readonly name: string
  readonly seed: boolean
  readonly zone?: string
  readonly uploadSlots: number
  readonly slotsBusy: number
  readonly storeBytes: number
  readonly wanting: number
  readonly held: number
}

interface TaskRow {
  readonly digest: string
  readonly size: number
  readonly pieces: number
  readonly available: number
  readonly wanting: number
  readonly full: number
  readonly partial: number
  readonly sourceBytes: number
  readonly repository?: string
}

interface Stats {
  readonly hosts: number
  readonly tasks: number
  readonly activeTasks: number
  readonly sourceBytes: number
  readonly peerBytes: number
}

/** What the supernode tells of the cluster. */
interface ClusterStatus {
  readonly stats: Stats
  readonly hosts: readonly HostRow[]
  readonly tasks: readonly TaskRow[]
}

/** What a dfdaemon tells of itself at /debug/state; more is shown by --json. */
interface DfdaemonState {
  readonly hostId: string
  readonly name: string
  readonly seed: boolean
  readonly supernodeConnected: boolean
  readonly storeBytes: number
  readonly quotaBytes: number
  readonly uploads: { readonly slotsBusy: number; readonly children: number; readonly bytes: number }
  readonly sessions: readonly unknown[]
}

interface Status extends Partial<ClusterStatus> {
  readonly dfdaemon?: DfdaemonState
}

const defaultApi = 'http://127.0.0.1:8002'

/** Rows asked for; a larger cluster is read by the API's pages. */
const ROWS_MAX = 200
const WATCH_MS = 1000
const ANSWER_TIMEOUT_MS = 5000

export function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('show hosts, tasks, piece coverage and what the registry was spared')
    .option(
      '--supernode <url>',
      `the supernode’s API [${defaultApi}, unless only --dfdaemon is given]`,
      readUrl,
    )
    .option('--dfdaemon <url>', 'the admin address of a dfdaemon, as http://127.0.0.1:65003', readUrl)
    .option('--watch', 'show it again every second until stopped')
    .option('--json', 'print one JSON object (with --watch: one a line)')
    .action(async (flags: StatusFlags) => {
      const stop = onStopSignal()
      try {
        do {
          const status = await readStatus(flags)
          process.stdout.write(renderStatus(status, flags))
        } while (flags.watch && (await waitOrStop(stop.signal)))
      } finally {
        stop.release()
      }
    })
}

/** Asks whom the flags name; without any, the supernode on this machine. */
async function readStatus(flags: StatusFlags): Promise<Status> {
  const api = flags.supernode ?? (flags.dfdaemon === undefined ? defaultApi : undefined)
  const [cluster, dfdaemon] = await Promise.all([
    api === undefined ? undefined : readCluster(api),
    flags.dfdaemon === undefined
      ? undefined
      : readJson<DfdaemonState>(`${flags.dfdaemon}/debug/state`, 'the dfdaemon', '--dfdaemon'),
  ])
  return { ...cluster, ...(dfdaemon === undefined ? {} : { dfdaemon }) }
}

async function readCluster(api: string): Promise<ClusterStatus> {
  const read = <T>(path: string) => readJson<T>(`${api}/api/v1/${path}`, 'the supernode', '--supernode')
  const [stats, { hosts }, { tasks }] = await Promise.all([
    read<Stats>('stats'),
    read<{ hosts: HostRow[] }>(`hosts?limit=${ROWS_MAX}`),
    read<{ tasks: TaskRow[] }>(`tasks?limit=${ROWS_MAX}`),
  ])
  return { stats, hosts, tasks }
}

async function readJson<T>(url: string, who: string, flag: string): Promise<T> {
  const timeouts = { headersTimeout: ANSWER_TIMEOUT_MS, bodyTimeout: ANSWER_TIMEOUT_MS }
  const answer = await request(url, { ...timeouts, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) }).catch(
    error => {
      throw new Error(`${who} does not answer at ${url} (${error.code ?? error.message}); see ${flag}`)
    },
  )
  const text = await answer.body.text()
  if (answer.statusCode !== 200)
    throw new Error(`${url} was answered with ${answer.statusCode}: ${text.slice(0, 200)}`)
  return JSON.parse(text) as T
}

function renderStatus(status: Status, flags: StatusFlags): string {
  if (flags.json) return `${JSON.stringify(status, undefined, flags.watch ? 0 : 2)}\n`
  const clear = flags.watch && process.stdout.isTTY ? '\x1b[H\x1b[2J' : ''
  const { stats, hosts, tasks, dfdaemon } = status
  const parts = [
    ...(dfdaemon === undefined ? [] : [renderDfdaemon(dfdaemon)]),
    ...(stats === undefined ? [] : [renderCluster({ stats, hosts: hosts!, tasks: tasks! })]),
  ]
  return `${clear}${parts.join('\n')}`
}

function renderDfdaemon(state: DfdaemonState): string {
  const { uploads } = state
  return [
    `${state.name}${state.seed ? ' (seed)' : ''} ${state.hostId}, supernode ${state.supernodeConnected ? 'connected' : 'away'}`,
    `${formatBytes(state.storeBytes)} of ${formatBytes(state.quotaBytes)} stored, ${state.sessions.length} blobs being pulled`,
    `${formatBytes(uploads.bytes)} sent to other hosts, ${uploads.slotsBusy} pieces under way to ${uploads.children} hosts`,
    '',
  ].join('\n')
}

function renderCluster({ stats, hosts, tasks }: ClusterStatus): string {
  const moved = stats.sourceBytes + stats.peerBytes
  const spared =
    moved === 0 ? '' : `, so the source was spared ${Math.round((stats.peerBytes / moved) * 100)} %`
  const lines = [
    `${stats.hosts} hosts, ${stats.tasks} tasks (${stats.activeTasks} being pulled)`,
    `${formatBytes(stats.sourceBytes)} from the source, ${formatBytes(stats.peerBytes)} from peers${spared}`,
    '',
    ...renderTable(
      ['HOST', 'ID', 'SLOTS', 'STORED', 'PULLING', 'HELD'],
      hosts.map(host => [
        `${host.name}${host.seed ? ' (seed)' : ''}`,
        host.id.slice(-8),
        `${host.slotsBusy}/${host.uploadSlots}`,
        formatBytes(host.storeBytes),
        `${host.wanting}`,
        `${host.held}`,
      ]),
    ),
    '',
    ...renderTable(
      ['TASK', 'REPOSITORY', 'SIZE', 'PIECES', 'PULLING', 'WHOLE', 'PART', 'FROM SOURCE'],
      tasks.map(task => [
        task.digest.slice(0, 19),
        task.repository ?? '',
        formatBytes(task.size),
        `${task.available}/${task.pieces}`,
        `${task.wanting}`,
        `${task.full}`,
        `${task.partial}`,
        formatBytes(task.sourceBytes),
      ]),
    ),
  ]
  return `${lines.join('\n')}\n`
}

function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map(row => row[column]!.length)))
  return [head, ...rows].map(row =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  )
}

/** True after a pause; false once asked to stop. */
function waitOrStop(signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false)
  return new Promise(resolve => {
    const onStop = (): void => {
      clearTimeout(timer)
      resolve(false)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onStop)
      resolve(true)
    }, WATCH_MS)
    signal.addEventListener('abort', onStop, { once: true })
  })
}

function readUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new InvalidArgumentError('It must be an http:// or https:// URL.')
  return text.replace(/\/$/, '')
}
