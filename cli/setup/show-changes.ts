// Says what a set-up changed or would change: lines for people, with diffs where nothing is written, or one object for machines.
import { createTwoFilesPatch } from 'diff'
import { stripCredentials } from '../../shared/logger.ts'
import type { FileChange } from './change-files.ts'
import type { Activation, RuntimeName } from './plan.ts'
import type { SetupResult } from './run-setup.ts'

/** Longest file that a diff is drawn of, in characters. */
const DIFF_CHARS_MAX = 1_000_000

export interface Shown {
  readonly runtime: RuntimeName
  readonly undo: boolean
  readonly dryRun: boolean
}

export function renderJson(result: SetupResult, { runtime, undo, dryRun }: Shown): string {
  const files = result.changes.map(change => ({
    path: change.path,
    change: wordFor(change),
    ...(dryRun ? { diff: diffOf(change) } : {}),
  }))
  const shown = {
    runtime,
    action: undo ? 'undo' : 'setup',
    dryRun,
    changed: result.changes.length > 0,
    files,
    activation: result.activation,
    command: commandFor(runtime, result.activation) ?? null,
    notes: result.notes,
  }
  return `${JSON.stringify(shown, undefined, 2)}\n`
}

export function renderText(result: SetupResult, { runtime, undo, dryRun }: Shown): string {
  const { changes, notes, activation, standing } = result
  const command = commandFor(runtime, activation)
  const then = command === undefined ? [] : [`Then: ${command}`, whyFor(runtime, activation, undo)]
  if (changes.length === 0)
    return `${[describeUnchanged(result, runtime, undo), ...then, ...notes].join('\n')}\n`
  const files = dryRun ? changes.map(diffOf) : changes.map(change => `${wordFor(change)}  ${change.path}\n`)
  const lines = [
    ...(command === undefined ? [`${runtime} needs no restart.`] : then),
    ...notes,
    ...(dryRun ? ['Nothing was written (--dry-run).'] : []),
    ...(dryRun || undo ? [] : [`pantala setup ${runtime} --undo puts everything back.`]),
    ...(undo && standing.length > 0 ? [`The rest stays for ${standing.join(', ')}.`] : []),
  ]
  return `${files.join('')}${lines.join('\n')}\n`
}

function describeUnchanged({ standing, wasSetUp }: SetupResult, runtime: RuntimeName, undo: boolean): string {
  if (!undo) return `${runtime}: nothing to do, it is set up`
  if (!wasSetUp) return `${runtime}: nothing to undo`
  return standing.length === 0
    ? `${runtime}: its files are as before already; the record was removed`
    : `${runtime}: taken back; the files stay as they are for ${standing.join(', ')}`
}

function wordFor({ from, to }: FileChange): 'created' | 'changed' | 'removed' {
  return from === undefined ? 'created' : to === undefined ? 'removed' : 'changed'
}

/** As `diff -u` draws it, without passwords in URLs. */
function diffOf({ path, from, to }: FileChange): string {
  const [before, after] = [from, to].map(file => file?.bytes.toString() ?? '')
  if (before!.length + after!.length > DIFF_CHARS_MAX) return `${path}: too long for a diff\n`
  const names = [from, to].map(file => (file === undefined ? '/dev/null' : path))
  const patch = createTwoFilesPatch(names[0]!, names[1]!, before!, after!, '', '', { context: 3 })
  // A file may have a proxy with its password; screens are read by others.
  return stripCredentials(patch.replace(/^(?:Index: .*\n)?=+\n/, ''))
}

/** What makes the change count; undefined if nothing is needed. */
function commandFor(runtime: RuntimeName, activation: Activation): string | undefined {
  // podman reads its files at each start; only CRI-O, which shares them, keeps them in memory.
  const unit = runtime === 'podman' ? 'crio' : runtime
  if (activation === 'nothing') return undefined
  if (activation === 'reload') return `systemctl reload ${unit}`
  return activation === 'restart'
    ? `systemctl restart ${unit}`
    : `systemctl daemon-reload && systemctl restart ${unit}`
}

function whyFor(runtime: RuntimeName, activation: Activation, undo: boolean): string {
  if (runtime === 'containerd') return '  config.toml is read at start only; containers keep running.'
  if (runtime !== 'docker') return '  CRI-O reads registries again on SIGHUP, without a restart.'
  if (undo && activation === 'restart')
    return '  Until then dockerd goes on asking the mirror, and Docker Hub where it is down; a reload does not make it forget.'
  return activation === 'reload'
    ? '  dockerd takes registry-mirrors on SIGHUP, without a restart.'
    : '  dockerd takes a proxy at start only; containers stop with it unless live-restore is on.'
}
