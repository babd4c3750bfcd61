// Errors as runtimes read them: OCI error bodies (distribution-spec, "Error Codes"), with the status and headers that go with them.
import { type PantalaError, toPantalaError } from '../../shared/errors.ts'
import { stripCredentials } from '../../shared/logger.ts'

export interface ErrorAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Anything thrown, as an answer. A 401 carries the source's own challenge. */
export function answerError(thrown: unknown): ErrorAnswer {
  const error = toPantalaError(thrown, 'BLOB_INCOMPLETE')
  return {
    status: error.entry.status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      ...(isSendable(error.challenge) ? { 'www-authenticate': error.challenge } : {}),
    },
    body: JSON.stringify({ errors: [describe(error)] }),
  }
}

/** It may have come by way of a supernode, and what no header can hold would end the process here. */
function isSendable(challenge: string | undefined): challenge is string {
  return challenge !== undefined && /^[\t\x20-\x7e\x80-\xff]{1,8192}$/.test(challenge)
}

function describe(error: PantalaError): Record<string, unknown> {
  const { oci, message, hint, blame } = error.entry
  return {
    code: oci,
    message,
    detail: { code: error.code, blame, tried: stripCredentials(error.detail ?? ''), hint },
  }
}
