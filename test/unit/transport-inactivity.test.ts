// A connection on which bytes move outlives the inactivity limit of its socket; one on which nothing moves does not.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tcp } from '@libp2p/tcp'
import { createLibp2p } from 'libp2p'
import { leanYamux } from '../../shared/transport/lean-yamux.ts'
import { nativeTls } from '../../shared/transport/native-tls.ts'
import { until } from '../harness/until.ts'

/** Long enough that a handshake on a busy machine is no silence. */
const INACTIVITY_MS = 1000

const makeNode = (listen: string[]) =>
  createLibp2p({
    addresses: { listen },
    transports: [
      tcp({
        inboundSocketInactivityTimeout: INACTIVITY_MS,
        outboundSocketInactivityTimeout: INACTIVITY_MS,
      }),
    ],
    connectionEncrypters: [nativeTls()],
    streamMuxers: [leanYamux()],
    connectionMonitor: { enabled: false },
  })

test('inactivity is seen through TLS', async t => {
  const a = await makeNode(['/ip4/127.0.0.1/tcp/0'])
  t.after(() => a.stop())
  const b = await makeNode([])
  t.after(() => b.stop())
  await a.handle('/echo/1', stream => {
    stream.addEventListener('message', event => stream.send(event.data))
  })
  const connection = await b.dial(a.getMultiaddrs())
  const stream = await connection.newStream('/echo/1')
  let echoes = 0
  stream.addEventListener('message', () => {
    echoes++
    setTimeout(() => echoes < 10 && stream.send(Buffer.from('again')), INACTIVITY_MS / 4)
  })
  const begin = performance.now()
  stream.send(Buffer.from('first'))
  await until(() => echoes === 10, 60_000)
  assert.ok(performance.now() - begin > 2 * INACTIVITY_MS)
  assert.equal(connection.status, 'open')
  await until(() => connection.status !== 'open' && a.getConnections().length === 0, 10_000)
})
