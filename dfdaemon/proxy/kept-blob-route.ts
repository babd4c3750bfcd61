// Answers small blobs that are in memory, to callers who are known to be allowed them, within one turn of the event loop; leaves all else alone.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Digest } from '../../shared/digest.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import { type BlobRouteComponents, type BlobRouteInit, blobHeaders } from './blob-route.ts'
import { BodySender } from './body-sender.ts'
import { type OciRequest, sourceOf } from './oci-path.ts'
import { versionHeader } from './proxy-context.ts'

/**
 * Sends the blob if that takes no question and no wait, as `serveBlob` would; undefined if it is not for here, and nothing was done. Settles when
 * the last byte left. A request of a kilobyte costs no timer, no signal and no chain of promises, which are most of what it would cost otherwise.
 * @throws as BodySender
 */
export function serveKeptBlob(
  components: BlobRouteComponents,
  { asked, request, response }: { asked: OciRequest; request: IncomingMessage; response: ServerResponse },
  init: BlobRouteInit,
): Promise<void> | undefined {
  const { target, isByPath } = asked
  if (target.kind !== 'blob' || request.method !== 'GET') return undefined
  const { range, authorization } = request.headers
  // Whose token may be another registry's is served in two tries.
  if (range !== undefined || (isByPath && authorization !== undefined)) return undefined
  const source = sourceOf(asked, authorization)
  const bytes = findBytes(components, source, target.digest)
  if (bytes === undefined) return undefined
  const leave = components.ahead?.follow(source, target.digest)
  response.writeHead(200, {
    ...versionHeader,
    ...blobHeaders(target.digest),
    'content-length': bytes.byteLength,
  })
  const onSent = (sent: number): void => components.metrics.countBlobBytes('cache', sent)
  const sending = new BodySender(response, { ...init, onSent }).endWith(bytes)
  return leave === undefined
    ? sending
    : sending.catch(error => {
        leave()
        throw error
      })
}

function findBytes(
  { blobs, manifests }: BlobRouteComponents,
  source: SourceRef,
  digest: Digest,
): Uint8Array | undefined {
  const admitted = manifests.admitKnown(source, digest)
  return admitted === undefined ? undefined : blobs.inMemory(admitted.key)
}
