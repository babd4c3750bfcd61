// `pantala config`: every option with its value, where the value came from, its unit and what it means. Secrets are never shown.
import type { Command } from 'commander'
import { dfdaemonOptions } from '../../dfdaemon/config.ts'
import { type Option, unitOf } from '../../shared/config/option.ts'
import type { ResolvedOption } from '../../shared/config/resolve.ts'
import { stripCredentials } from '../../shared/logger.ts'
import { supernodeOptions } from '../../supernode/config.ts'
import { addOptionFlags, resolveService } from './service-options.ts'

const services: Readonly<Record<string, readonly Option[]>> = {
  supernode: supernodeOptions,
  dfdaemon: dfdaemonOptions,
}

export function addConfigCommand(program: Command): void {
  const config = program
    .command('config')
    .helpCommand(false)
    .description('show every option of a service, its value and where it came from')
  for (const [service, options] of Object.entries(services)) {
    const command = config.command(service).description(`the options of pantala ${service}`)
    addOptionFlags(command, options)
      .option('--json', 'print JSON')
      .exitOverride()
      .helpOption('--help', 'show help')
      .action(({ json }: { json?: unknown }, self: Command) => {
        const resolved = resolveService(service, options, self)
        process.stdout.write(
          json === true ? `${JSON.stringify(resolved.map(describe), undefined, 2)}\n` : renderText(resolved),
        )
      })
  }
}

function describe(resolved: ResolvedOption): Record<string, unknown> {
  const { option, origin } = resolved
  return { key: option.key, value: shownValue(resolved), origin, unit: unitOf[option.kind], doc: option.doc }
}

function shownValue({ option, value }: ResolvedOption): unknown {
  if (option.kind === 'secret' && value !== undefined) return '(set)'
  // Mirrors may be configured with a user and password in their URL.
  return value === undefined ? null : JSON.parse(stripCredentials(JSON.stringify(value)))
}

function renderText(resolved: readonly ResolvedOption[]): string {
  const lines: string[] = []
  for (const one of resolved) {
    const { option, origin } = one
    const unit = unitOf[option.kind]
    lines.push(`${option.key} = ${JSON.stringify(shownValue(one))}   (${origin})`)
    lines.push(`    ${option.doc}${unit === '' ? '' : ` [${unit}]`}`)
  }
  return `${lines.join('\n')}\n`
}
