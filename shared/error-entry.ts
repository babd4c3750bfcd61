// What the catalogue of errors says of each error: its status and OCI code, whose fault it is, what a retry can do, and words for people.

/** Whose fault it is; decides what is dropped, reported or shown. */
export type Blame = 'parent' | 'source' | 'supernode' | 'self' | 'caller'

/** Where trying again can help: nowhere, at the same place, at another parent, or at the source. */
export type Retry = 'never' | 'same' | 'elsewhere' | 'source'

/** Error codes of the OCI distribution specification, section "Error Codes", and `UNAVAILABLE` in their manner. */
export type OciCode =
  | 'BLOB_UNKNOWN'
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'SIZE_INVALID'
  | 'TOOMANYREQUESTS'
  | 'UNAUTHORIZED'
  | 'UNAVAILABLE'
  | 'UNSUPPORTED'

/** One row of the catalogue. `status` is the HTTP status a runtime sees if the error reaches it before headers. */
export interface ErrorEntry {
  readonly status: number
  readonly oci: OciCode
  readonly blame: Blame
  readonly retry: Retry
  readonly message: string
  readonly hint: string
}

/** One row, told in the order of its columns. */
export const row = (
  status: number,
  oci: OciCode,
  blame: Blame,
  retry: Retry,
  message: string,
  hint: string,
): ErrorEntry => ({ status, oci, blame, retry, message, hint })
