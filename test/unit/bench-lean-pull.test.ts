// The benchmark's lean pull against a registry that answers well, and in every wrong way.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, beforeEach, test } from 'node:test'
import { digestOf } from '../../shared/digest.ts'
import { pullLean } from '../bench/lean/pull-image.ts'
import { makeNoise } from '../harness/small-image.ts'

/** Larger than the connection's buffer, so that a body comes in parts; and an empty one. */
const layers = [900_000, 0, 1, 300_000, 262_144].map((length, index) => makeNoise(`lean-${index}`, length))
const config = Buffer.from('{}')
const blobs = new Map([config, ...layers].map(bytes => [digestOf(bytes), bytes]))
const describe = (bytes: Uint8Array) => ({ digest: digestOf(bytes), size: bytes.byteLength })
const manifest = Buffer.from(
  // A layer that is named twice is fetched once.
  JSON.stringify({ config: describe(config), layers: [...layers, layers[0]!].map(describe) }),
)
const index = Buffer.from(
  JSON.stringify({
    manifests: [
      { ...describe(Buffer.from('other')), platform: { os: 'linux', architecture: 'arm64' } },
      { ...describe(manifest), platform: { os: 'linux', architecture: 'amd64' } },
    ],
  }),
)
const blobBytes = [...blobs.values()].reduce((sum, bytes) => sum + bytes.byteLength, 0)

let server: Server
let url = ''
/** Answers instead of the registry; false: the registry does. */
let trouble: (...args: Parameters<RequestListener>) => boolean = () => false
let asked: string[] = []

before(async () => {
  server = createServer((request, response) => {
    asked.push(request.url!)
    if (trouble(request, response)) return
    const [kind, reference] = request.url!.split('/').slice(-2)
    const found =
      reference === 'all' ? index : kind === 'manifests' ? manifest : blobs.get(reference as 'sha256:')
    if (found === undefined) response.writeHead(404).end('no such thing')
    else {
      response.setHeader('Content-Length', found.byteLength)
      if (kind === 'manifests') response.setHeader('Docker-Content-Digest', digestOf(found))
      response.end(found)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

after(() => {
  server.closeAllConnections()
  server.close()
})

beforeEach(() => {
  trouble = () => false
  asked = []
})

/** Pulls, and sees that no connection is left when it has ended. */
async function pull(reference = 'v1', signal = AbortSignal.timeout(5_000)) {
  let heard = 0
  try {
    const bytes = await pullLean(
      { registryUrl: url, repository: 'bench/image', reference },
      part => {
        heard += part
      },
      signal,
    )
    return { bytes, heard }
  } finally {
    while ((await countConnections()) > 0) {
      signal.throwIfAborted()
      await new Promise(resolve => setImmediate(resolve))
    }
  }
}

function countConnections(): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  )
}

/** This layer is answered otherwise. */
function troubleWith(layer: Uint8Array, answer: RequestListener): void {
  trouble = (request, response) => {
    if (!request.url!.endsWith(digestOf(layer))) return false
    answer(request, response)
    return true
  }
}

test('a lean pull fetches every blob once and counts all bytes', async () => {
  assert.deepEqual(await pull(), { bytes: manifest.byteLength + blobBytes, heard: blobBytes })
  assert.equal(asked.filter(path => path.includes('/blobs/')).length, blobs.size)
})

test('a lean pull reads an index too, and a manifest by its digest', async () => {
  assert.equal((await pull('all')).bytes, index.byteLength + manifest.byteLength + blobBytes)
  assert.equal((await pull(digestOf(manifest))).bytes, manifest.byteLength + blobBytes)
})

test('a lean pull goes on where a server closes its connection after each answer', async () => {
  trouble = (_, response) => {
    response.setHeader('Connection', 'close')
    return false
  }
  assert.equal((await pull()).heard, blobBytes)
})

test('a lean pull refuses a blob with other bytes', async () => {
  troubleWith(layers[0]!, (_, response) => response.end(makeNoise('other', layers[0]!.byteLength)))
  await assert.rejects(pull(), /blob sha256:\w+ came with bytes that do not have its digest/)
})

test('a lean pull refuses a manifest with other bytes', async () => {
  trouble = (request, response) => {
    if (!request.url!.includes('/manifests/')) return false
    response.setHeader('Docker-Content-Digest', digestOf(config))
    response.end(manifest)
    return true
  }
  await assert.rejects(pull(), /manifest v1 does not have the digest sha256:/)
})

test('a lean pull refuses a body that ends early', async () => {
  troubleWith(layers[0]!, (_, response) => {
    response.writeHead(200, { 'content-length': layers[0]!.byteLength })
    response.write(layers[0]!.subarray(0, 100_000), () => response.destroy())
  })
  await assert.rejects(pull(), /the server closed the connection after 100000 of 900000 bytes/)
})

test('a lean pull refuses a blob of another length', async () => {
  for (const length of [899_999, 900_001]) {
    troubleWith(layers[0]!, (_, response) => response.end(makeNoise('other', length)))
    await assert.rejects(pull(), /blob sha256:\w+(: more than its 900000| has 899999) bytes/)
  }
})

test('a lean pull tells the text of a refusal', async () => {
  troubleWith(layers[3]!, (_, response) => {
    response.statusCode = 503
    response.end('come back later')
  })
  await assert.rejects(pull(), /blob sha256:\w+ was answered with 503: come back later/)
})

test('a lean pull refuses an answer without a length', async () => {
  troubleWith(layers[3]!, (_, response) => {
    response.writeHead(502, { 'transfer-encoding': 'chunked' })
    response.end('out of order')
  })
  await assert.rejects(pull(), /an answer without a length: HTTP\/1.1 502 .*out of order/s)
})

test('a lean pull ends at its deadline', async () => {
  const deadline = new AbortController()
  troubleWith(layers[0]!, (_, response) => {
    response.writeHead(200, { 'content-length': layers[0]!.byteLength })
    response.write('a', () => deadline.abort(new Error('too late')))
  })
  const signal = AbortSignal.any([deadline.signal, AbortSignal.timeout(5_000)])
  await assert.rejects(pull('v1', signal), { message: 'too late' })
})

test('a lean pull tells that nobody answers', async () => {
  const signal = AbortSignal.timeout(5_000)
  const image = { registryUrl: 'http://127.0.0.1:1', repository: 'bench/image', reference: 'v1' }
  await assert.rejects(
    pullLean(image, () => {}, signal),
    { code: 'ECONNREFUSED' },
  )
})
