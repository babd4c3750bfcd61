// The least that a server on Node can be: answers every request with the same KiB. A process of its own; says its port in its first line.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const body = Buffer.alloc(1024, 1)
const server = createServer({ noDelay: true }, (_request, response) => {
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.byteLength })
  response.end(body)
})
server.listen(0, '127.0.0.1', () => process.stdout.write(`port ${(server.address() as AddressInfo).port}\n`))
