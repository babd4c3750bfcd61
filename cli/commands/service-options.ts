// Puts a service's option table on a command as flags, and resolves it from file, environment and flags.
import { type Command, Option as Flag } from 'commander'
import { type Option, unitOf } from '../../shared/config/option.ts'
import { flagName, nestValues, type ResolvedOption, resolveOptions } from '../../shared/config/resolve.ts'

/** Adds --config and one flag per option. Unknown flags are let through, so that they are named along with all other faults. */
export function addOptionFlags(command: Command, options: readonly Option[]): Command {
  command.allowUnknownOption().allowExcessArguments().option('--config <file>', 'YAML file with options')
  for (const option of options) {
    const flag = new Flag(`${flagName(option.key)} <${placeholderOf(option)}>`, describeOption(option))
    // The key itself, since dots and dashes of the flag name can't be told apart afterwards.
    flag.attributeName = () => option.key
    command.addOption(flag)
  }
  return command
}

function placeholderOf({ kind, choices }: Option): string {
  if (choices !== undefined && choices.length <= 3) return choices.join('|')
  if (kind === 'count' || kind === 'ratio') return 'number'
  return unitOf[kind].split(';')[0] || 'text'
}

function describeOption({ doc, preset }: Option): string {
  const shown = typeof preset === 'object' ? Object.values(preset as object).join(',') : String(preset ?? '')
  return shown === '' ? doc : `${doc} [${shown}]`
}

/** Reads the flags that `command` was given. @throws PantalaError CONFIG_INVALID naming every fault */
export function resolveService(
  service: string,
  options: readonly Option[],
  command: Command,
): ResolvedOption[] {
  const keys = new Set(options.map(option => option.key))
  const { config, ...given } = command.opts<Record<string, string>>()
  const flags = Object.fromEntries(Object.entries(given).filter(([key]) => keys.has(key)))
  const strayWords = findStrayWords(command.args)
  return resolveOptions(options, { service, file: config, environment: process.env, flags, strayWords })
}

/** What is no flag of the command's; the word after an unknown flag is taken for its value. */
function findStrayWords(words: readonly string[]): string[] {
  return words.filter((word, index) => word.startsWith('-') || words[index - 1]?.startsWith('-') !== true)
}

/** As `resolveService`, nested as the service takes it. */
export function resolveConfig<T>(service: string, options: readonly Option[], command: Command): T {
  return nestValues(resolveService(service, options, command)) as T
}
