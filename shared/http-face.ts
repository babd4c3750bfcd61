// What the HTTP faces of both services share: the URL one listens at, and what a failed listen is called. Knows no web framework.
import type { AddressInfo } from 'node:net'
import { PantalaError } from './errors.ts'

/** The base URL of a server by its `address()`; empty while it does not listen. */
export function baseUrlOf(address: AddressInfo | string | null): string {
  if (address === null || typeof address === 'string') return ''
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`
}

/** ADDRESS_IN_USE, or CONFIG_INVALID for any other reason not to listen. `setting`: option and value. */
export function explainListenFailure(setting: string, cause: unknown): PantalaError {
  const { code } = cause as NodeJS.ErrnoException
  return code === 'EADDRINUSE'
    ? new PantalaError('ADDRESS_IN_USE', { detail: setting, cause })
    : new PantalaError('CONFIG_INVALID', { detail: `${setting}: ${code}`, cause })
}

/** For a web framework whose routes have no schemas: it then loads no compilers of them, which cost an idle host 2 MiB. */
export const noSchemas = {
  compilersFactory: {
    buildValidator: () => () => {
      throw new TypeError('no route has a schema')
    },
    buildSerializer: () => () => {
      throw new TypeError('no route has a schema')
    },
  },
}
