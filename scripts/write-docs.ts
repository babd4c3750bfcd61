// Writes the documents that are held to the code: docs/errors.md, docs/configuration.md, docs/metrics.md, docs/limits.md, the table in docs/runtimes.md. `npm run docs`.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dfdaemonOptions } from '../dfdaemon/config.ts'
import { DfdaemonMetrics } from '../dfdaemon/metrics.ts'
import { type Option, unitOf } from '../shared/config/option.ts'
import { environmentName, flagName } from '../shared/config/resolve.ts'
import { errorCatalogue } from '../shared/errors.ts'
import { supernodeOptions } from '../supernode/config.ts'
import { SupernodeMetrics } from '../supernode/metrics.ts'
import { renderMatrix } from '../test/runtimes/matrix-table.ts'
import { listLimits } from './list-limits.ts'

const root = join(import.meta.dirname, '..')

const made = 'Written by `npm run docs` from the code; a test holds it to it.'

/** File name under docs/ to content. */
export async function renderDocs(): Promise<Record<string, string>> {
  return {
    'errors.md': renderErrors(),
    'configuration.md': renderConfiguration(),
    'metrics.md': await renderMetrics(),
    'limits.md': renderLimits(),
    'runtimes.md': renderRuntimes(),
  }
}

/** What people wrote, with the table of the tests in its place. */
function renderRuntimes(): string {
  const text = readFileSync(join(root, 'docs', 'runtimes.md'), 'utf8')
  const [begin, end] = ['<!-- matrix -->\n', '<!-- end of matrix -->']
  const before = text.slice(0, text.indexOf(begin) + begin.length)
  return `${before}${renderMatrix()}${text.slice(text.indexOf(end))}`
}

function renderLimits(): string {
  const sections = ['shared', 'dfdaemon', 'supernode', 'cli'].flatMap(folder => {
    const rows = listLimits(root, folder).map(
      ({ name, value, file, meaning }) => `| \`${name}\` | ${value} | ${meaning} | [${file}](../${file}) |`,
    )
    return [`## ${folder}`, '', '| limit | value | meaning | where |', '|---|---|---|---|', ...rows, '']
  })
  return [
    '# Limits',
    '',
    'Every queue, cache, body, wait and retry has a bound. Those an operator may want to change are options: see [configuration.md](configuration.md).',
    `The others are constants, each with its unit in its name; here they all are; one without words of its own goes with the one above it. ${made}`,
    '',
    ...sections,
  ].join('\n')
}

function renderErrors(): string {
  const rows = Object.entries(errorCatalogue).map(
    ([code, entry]) =>
      `| \`${code}\` | ${entry.status} ${entry.oci} | ${entry.blame} | ${entry.retry} | ${entry.message} | ${entry.hint} |`,
  )
  return [
    '# Errors',
    '',
    'Every error Pantala names. A runtime gets the status and an OCI error body whose `detail` says what was tried; logs carry the code.',
    '**Blame** is whose fault it is, **retry** where trying again can help.',
    made,
    '',
    '| code | status | blame | retry | message | hint |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}

function renderConfiguration(): string {
  return [
    '# Configuration',
    '',
    'Each option can be set in a YAML file (`--config FILE`, dots are nesting), by environment and by flag, in rising order of precedence.',
    'An unknown or wrong option stops the start with one message that names every fault. `pantala config dfdaemon` and `pantala config supernode`',
    `show each option’s value and where it came from. ${made}`,
    '',
    ...renderOptions('dfdaemon', dfdaemonOptions),
    ...renderOptions('supernode', supernodeOptions),
  ].join('\n')
}

function renderOptions(service: string, options: readonly Option[]): string[] {
  const rows = options.map(option => {
    const unit = unitOf[option.kind] || option.choices?.join(', ') || 'text'
    const preset =
      option.preset === undefined
        ? ''
        : `\`${typeof option.preset === 'string' ? option.preset : JSON.stringify(option.preset)}\``
    return `| \`${option.key}\` | ${preset} | ${unit} | ${option.doc} | \`${environmentName(service, option.key)}\` \`${flagName(option.key)}\` |`
  })
  return [
    `## pantala ${service}`,
    '',
    '| option | default | value | meaning | environment, flag |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ]
}

async function renderMetrics(): Promise<string> {
  const dfdaemon = new DfdaemonMetrics({ processMetrics: false })
  dfdaemon.watch({
    storeBytes: () => 0,
    storeStuck: () => false,
    sessions: () => 0,
    supernodeConnected: () => false,
    connects: () => ({ tunnels: 0, intercepted: 0 }),
    upstreamHealth: () => new Map(),
  })
  const supernode = new SupernodeMetrics({ processMetrics: false })
  supernode.watch({ hosts: () => 0, tasks: () => 0 })
  const rows = async (registry: DfdaemonMetrics['registry']): Promise<string[]> => {
    const metrics = await registry.getMetricsAsJSON()
    return metrics.map(metric => `| \`${metric.name}\` | ${metric.type} | ${metric.help} |`)
  }
  return [
    '# Metrics',
    '',
    'Prometheus metrics at `GET /metrics` of the dfdaemon’s admin address and of the supernode’s API, beside Node’s own (`process_…`, `nodejs_…`).',
    made,
    '',
    '## pantala dfdaemon',
    '',
    '| metric | type | meaning |',
    '|---|---|---|',
    ...(await rows(dfdaemon.registry)),
    '',
    '## pantala supernode',
    '',
    '| metric | type | meaning |',
    '|---|---|---|',
    ...(await rows(supernode.registry)),
    '',
  ].join('\n')
}

if (process.argv[1] === import.meta.filename) {
  for (const [name, text] of Object.entries(await renderDocs())) writeFileSync(join(root, 'docs', name), text)
}
