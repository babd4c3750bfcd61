// Puts a service's option table on a command as flags, and resolves it from file, environment and flags.
import { type Command, Option as Flag } from 'commander'
import { type Option, unitOf } from '../../shared/config/option.ts'
import { flagName, nestValues, type ResolvedOption, resolveOptions } from '../../shared/config/resolve.ts'

/** Adds --config and one flag per option. */
export function addOptionFlags(command: Command, options: readonly Option[]): Command {
  command.option('--config <file>', 'YAML file with options')
  for (const option of options) {
    const unit = unitOf[option.kind].split(';')[0]
    const preset = option.preset === undefined || option.kind === 'map' ? '' : ` [${option.preset}]`
    const flag = new Flag(
      `${flagName(option.key)} <${unit === '' ? 'text' : unit}>`,
      `${option.doc}${preset}`,
    )
    // The key itself, since dots and dashes of the flag name can't be told apart afterwards.
    flag.attributeName = () => option.key
    command.addOption(flag)
  }
  return command
}

/** @throws PantalaError CONFIG_INVALID naming every fault */
export function resolveService(
  service: string,
  options: readonly Option[],
  given: Readonly<Record<string, string>>,
): ResolvedOption[] {
  const { config, ...flags } = given
  return resolveOptions(options, { service, file: config, environment: process.env, flags })
}

/** As `resolveService`, nested as the service takes it. */
export function resolveConfig<T>(
  service: string,
  options: readonly Option[],
  given: Readonly<Record<string, string>>,
): T {
  return nestValues(resolveService(service, options, given)) as T
}
