// A proxy over doubles on real loopback HTTP, and a client that sees every byte and header.
import { Buffer } from 'node:buffer'
import { request as httpRequest, type IncomingHttpHeaders, type RequestOptions } from 'node:http'
import { Readable } from 'node:stream'
import type { AheadOutcome, ManifestSource, PullResult } from '../../dfdaemon/proxy/proxy-context.ts'
import { RequestDesk } from '../../dfdaemon/proxy/request-desk.ts'
import { ProxyServer } from '../../dfdaemon/proxy/server.ts'
import { systemClock } from '../../shared/clock.ts'
import { type Digest, digestOf } from '../../shared/digest.ts'
import { PantalaError } from '../../shared/errors.ts'
import { createLogger } from '../../shared/logger.ts'
import type { SourceRef } from '../../shared/protocol/messages.ts'
import type { ForwardAnswer } from '../../shared/source/source-client.ts'
import type { WriteClient } from '../../shared/source/write-client.ts'
import { MemoryBlobs } from '../doubles/memory-blobs.ts'

export const manifestType = 'application/vnd.oci.image.manifest.v1+json'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** False if the body was cut. */
  readonly whole: boolean
  /** Of the client's end; the same for requests on one connection. */
  readonly localPort: number | undefined
}

/** What the source answers to what is passed on. */
export interface Forwarded {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
}

export interface HarnessInit {
  readonly requestsMax?: number
  readonly stalledSendMs?: number
  readonly answerMs?: number
  readonly writes?: boolean
  readonly readAhead?: boolean
  /** Where writes go; refused if absent. */
  readonly writeClient?: WriteClient
}

export async function startProxy({ writeClient, ...init }: HarnessInit = {}) {
  const blobs = new MemoryBlobs()
  const manifestBody = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType, layers: [] }))
  const manifestDigest = digestOf(manifestBody)
  const asked: {
    reference: string
    accept: readonly string[]
    authorization?: string
    registry: string
    repository: string
  }[] = []
  const checks: Digest[] = []
  const results: PullResult[] = []
  const writeResults: PullResult[] = []
  const aheads: AheadOutcome[] = []
  const logLines: string[] = []
  const forwarded: string[] = []
  const behaviour = {
    manifestError: undefined as PantalaError | undefined,
    /** Throws for credentials that the source does not take. */
    judge: (_authorization: string | undefined): void => {},
    /** Throws for blobs that the source does not give. */
    judgeBlob: (_source: SourceRef, _digest: Digest): void => {},
    mayRead: true,
    /** True if callers' rights are known without a question. */
    isKnown: false,
    accessError: undefined as PantalaError | undefined,
    forward: (_path: string, _authorization?: string): Forwarded | Promise<Forwarded> => ({
      status: 200,
      headers: {},
      body: '{}',
    }),
    /** Which layer follows which. */
    next: new Map<Digest, Digest>(),
    /** Manifests by other tags than v1. */
    tagged: new Map<string, { mediaType: string; body: Buffer }>(),
  }
  const manifests: ManifestSource = {
    async get({ source, reference, accept }) {
      asked.push({ reference, accept, ...source })
      if (behaviour.manifestError !== undefined) throw behaviour.manifestError
      behaviour.judge(source.authorization)
      const tagged = behaviour.tagged.get(reference)
      if (tagged !== undefined) return { ...tagged, digest: digestOf(tagged.body), stale: false }
      if (reference !== 'v1' && reference !== manifestDigest) {
        throw new PantalaError('SOURCE_MANIFEST_UNKNOWN', {
          detail: `GET ${source.registry}/${source.repository}:${reference} answered 404`,
        })
      }
      return { mediaType: manifestType, digest: manifestDigest, body: manifestBody, stale: false }
    },
    sizeOf: () => undefined,
    nextLayer: (_source, layer) => behaviour.next.get(layer),
    async admit(source, digest) {
      behaviour.judgeBlob(source, digest)
      if (!behaviour.mayRead) {
        checks.push(digest)
        if (behaviour.accessError !== undefined) throw behaviour.accessError
      }
      return { key: digest, source }
    },
    admitKnown: (_source, digest) => (behaviour.isKnown ? { key: digest } : undefined),
  }
  const registry = {
    async forward(source: SourceRef, _method: string, path: string): Promise<ForwardAnswer> {
      forwarded.push(path)
      const { status, headers, body } = await behaviour.forward(path, source.authorization)
      return { status, headers, body: Readable.from([Buffer.from(body)]) as unknown as ForwardAnswer['body'] }
    },
  }
  const written: string[] = []
  const nowhere: WriteClient = {
    write: () => Promise.reject(new PantalaError('UPSTREAM_FORBIDDEN', { detail: 'no writes in this test' })),
  }
  const desk = new RequestDesk(
    {
      manifests,
      blobs,
      registry,
      writes: writeClient ?? nowhere,
      notes: { noteWrite: (_source, reference) => void written.push(reference) },
      clock: systemClock,
      logger: createLogger(
        { name: 'proxy', level: 'trace', format: 'json' },
        { write: line => void logLines.push(line) },
      ),
      metrics: {
        countBlobBytes() {},
        countPull: result => void results.push(result),
        countWrite: result => void writeResults.push(result),
        countLayerAhead: outcome => void aheads.push(outcome),
      },
    },
    { requestsMax: 100, stalledSendMs: 5000, writes: true, readAhead: true, ...init },
  )
  const proxy = new ProxyServer(
    { desk },
    { host: '127.0.0.1', port: 0, setting: 'proxy.address', face: { registry: 'reg.lab', isFixed: false } },
  )
  await proxy.start()
  const ask = (path: string, options: RequestOptions = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      let localPort: number | undefined
      const call = httpRequest(proxy.url, { agent: false, ...options, path }, response => {
        const chunks: Buffer[] = []
        localPort = response.socket.localPort
        const finish = () =>
          resolve({
            status: response.statusCode!,
            headers: response.headers,
            body: Buffer.concat(chunks),
            whole: response.complete,
            localPort,
          })
        response.on('data', chunk => chunks.push(chunk))
        response.on('error', finish)
        response.on('end', finish)
      })
      call.on('error', reject)
      call.end()
    })
  return {
    desk,
    proxy,
    blobs,
    manifestBody,
    manifestDigest,
    asked,
    checks,
    results,
    writeResults,
    aheads,
    logLines,
    forwarded,
    written,
    behaviour,
    ask,
  }
}

/** The one error of an OCI error body. */
export function errorOf(answer: Answer): {
  code: string
  message: string
  detail: { code: string; tried: string; hint: string }
} {
  return JSON.parse(answer.body.toString()).errors[0]
}
