// Rows of the catalogue for `pantala setup`, which no runtime and no other service ever sees.
import { type ErrorEntry, row } from './error-entry.ts'

export const setupErrors = {
  SETUP_CONFIG_INVALID: row(
    500,
    'UNSUPPORTED',
    'caller',
    'never',
    'the runtime’s own configuration cannot be read',
    'mend the place that is named; nothing was written',
  ),
  SETUP_CONFLICT: row(
    500,
    'UNSUPPORTED',
    'caller',
    'never',
    'the runtime’s own configuration stands against it',
    'change what is named, then run it again; nothing was written',
  ),
  SETUP_CHANGED_SINCE: row(
    500,
    'UNSUPPORTED',
    'caller',
    'never',
    'a file was changed since the set-up and Pantala’s part can’t be taken out exactly',
    'take it out by hand, or --force to put back the bytes of before; nothing was written',
  ),
  SETUP_UNWRITABLE: row(
    500,
    'UNAVAILABLE',
    'caller',
    'never',
    'a file could not be written',
    'run it as root; what had been written was put back',
  ),
} as const satisfies Record<string, ErrorEntry>
