// The client over libp2p against the contract of scheduler clients, with a real supernode edge on loopback.
import { startScheduleEdge, startTestHost, until } from '../harness/schedule-net.ts'
import { testSchedulerClient } from './scheduler-client-suite.ts'

testSchedulerClient('libp2p', async () => {
  const edge = await startScheduleEdge()
  const host = await startTestHost({ supernodes: [edge.address] })
  await host.client.firstAttempt
  let running = true
  return {
    client: host.client,
    pushHashes: (digest, pieces, hashes) =>
      edge.streams.send(host.id, { type: 'hashes', digest, pieces, hashes }),
    pushParents: (digest, parents, drop) =>
      edge.streams.send(host.id, { type: 'parents', digest, parents, drop }),
    pushFailed: (digest, code) =>
      edge.streams.send(host.id, { type: 'task-failed', digest, code, detail: '' }),
    pushGrant: grant => edge.streams.send(host.id, grant),
    async goAway() {
      running = false
      await edge.stop()
    },
    async comeBack() {
      running = true
      await edge.start()
      await until(() => edge.state.hosts.has(host.id), 'return')
    },
    reportedPieces: () =>
      [...edge.state.tasks.values()].flatMap(task => [...(task.peers.get(host.id)?.have.pieces() ?? [])]),
    wantedPieces: () =>
      [...edge.state.tasks.values()].flatMap(task => [...(task.peers.get(host.id)?.urgent?.pieces() ?? [])]),
    async stop() {
      await host.stop()
      if (running) await edge.stop()
    },
  }
})
