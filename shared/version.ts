// The version of this build, from package.json; the bundle has it built in.
import { readFileSync } from 'node:fs'

declare const PANTALA_VERSION: string | undefined

/** As in package.json. */
export const version: string =
  typeof PANTALA_VERSION === 'string'
    ? PANTALA_VERSION
    : (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string })
        .version
