// A client certificate of this host opens what the desk answers for; requests that are passed on in a client's own name go without it.
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { makeTestDirectory } from '../harness/test-directory.ts'
import { testCertificate, testKey } from '../harness/tls-certificate.ts'
import { ask, connectTls, startInterceptor } from './intercept-harness.ts'

test('what is forwarded to an intercepted host goes without the host’s client certificate', async t => {
  const directory = await makeTestDirectory(t, 'certificate')
  const [certFile, keyFile] = [join(directory, 'client.pem'), join(directory, 'client.key')]
  await writeFile(certFile, testCertificate)
  await writeFile(keyFile, testKey)
  const tls = { cert: testCertificate, key: testKey, ca: testCertificate, requestCert: true }
  const server = createServer({ ...tls, rejectUnauthorized: false }, (request, response) =>
    response.end(String((request.socket as TLSSocket).authorized)),
  )
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const name = `localhost:${(server.address() as AddressInfo).port}`
  const rig = await startInterceptor(t, { hosts: [name], registries: { [name]: { certFile, keyFile } } })
  const socket = await connectTls(rig, name, { ca: rig.ca })
  t.after(() => socket.destroy())
  const answer = await ask({ socket }, '/api/v2.0/users', { headers: { host: name } })
  assert.equal(answer.status, 200)
  assert.equal(answer.body.toString(), 'false')
})
